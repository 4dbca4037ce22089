"""Machine code of GPUs (SASS): instructions of kernels, counted in it and in PTX without running them."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

_SECTION = re.compile(r"^\s*\.section\s+\.text\.(\w+)", re.MULTILINE)
_OPERATION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9]*)")
# Slow paths of divisions and roots, which ordinary numbers do not take.
_SUBROUTINE = re.compile(r"^\$?[\w$]*__internal_[\w$]*:", re.MULTILINE)
_PADDING = "NOP"
_ENTRY = re.compile(r"\.entry\s+(\w+)\s*\(.*?\n\{(.*?)\n\}", re.DOTALL)
_STATEMENT = re.compile(r"^\s*(?:@!?%\w+\s+)?([a-z]\w*)[\w.:]*(?=[\s;])", re.MULTILINE)


def disassemble(cubin: bytes, nvdisasm: Path) -> str:
    """Return the machine code of a cubin as text. ``nvdisasm``: from pip install nvidia-cuda-nvdisasm."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.cubin"
        path.write_bytes(cubin)
        return subprocess.run([nvdisasm, "-c", path], capture_output=True, text=True, check=True).stdout


def count_machine_code(text: str) -> dict[str, int]:
    """Count the instructions of each kernel in the text of ``disassemble``, without padding and subroutines."""
    parts = _SECTION.split(text)
    found = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        found[name] = sum(each != _PADDING for each in _OPERATION.findall(_SUBROUTINE.split(body, maxsplit=1)[0]))
    return found


def count_ptx(text: str) -> dict[str, Counter[str]]:
    """Count the instructions of each kernel of a PTX file by their first word."""
    return {name: Counter(_STATEMENT.findall(body)) for name, body in _ENTRY.findall(text)}
