"""Fuzzer of projects, images and command lines: ``make fuzz``.

cases.py makes a case of a seed and a number: a folder of files and the words of a command. forks.py runs it, explained
and for real, in processes of their own; verdicts.py says what must hold. Findings are files that can be replayed.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy comes: what has threads cannot be forked safely
