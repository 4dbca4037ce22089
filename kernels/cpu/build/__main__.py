"""``python kernels/cpu/build FOLDER [TARGET]``: build the library of kernels in a folder unless it is current there.

TARGET is this machine, or for example linux-aarch64. Prints the library's name and the platforms of a wheel with it.
Works before the package is installed, since pip runs it while it builds the package.
"""

import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

_ROOT = Path(__file__).resolve().parents[3]

if "pixelforest" not in sys.modules:
    sys.path.pop(0)  # this folder
    package = sys.modules["pixelforest"] = ModuleType("pixelforest")
    package.__path__ = [str(_ROOT)]

if __name__ == "__main__":
    for variable in [name for name in os.environ if name.startswith("NUMBA_")]:
        del os.environ[variable]
    # numba imports scipy if it is installed, which takes longer than numba itself; no kernel uses it.
    sys.modules["scipy"] = None  # type: ignore[assignment]
    library = import_module("pixelforest.kernels.cpu.build.library")
    targets = import_module("pixelforest.kernels.cpu.build.targets")
    target = targets.find_target(sys.argv[2]) if len(sys.argv) > 2 else targets.own_target()
    print(target.library, library.build_if_needed(Path(sys.argv[1]), target))
