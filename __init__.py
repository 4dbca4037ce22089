"""pixelforest runs trained ilastik projects without ilastik: same command line, same files, same numbers.

    model = pixelforest.load("MyProject.ilp")
    probabilities = model.predict(image, axes="zyx")

Nothing is imported before one of the names is used.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # as typing's, without importing it
if TYPE_CHECKING:
    from .engine.arrays.compatibility import from_project_file
    from .engine.arrays.model import Model, load
    from .engine.arrays.objects import Objects, Table
    from .engine.errors import PixelforestError
    from .engine.jobs import Request
    from .engine.run.batch import run
    from .engine.training.forest import train_forest

__all__ = [
    "Model",
    "Objects",
    "PixelforestError",
    "Request",
    "Table",
    "from_project_file",
    "load",
    "run",
    "train_forest",
]

_HOMES = {
    "Model": ".engine.arrays.model",
    "Objects": ".engine.arrays.objects",
    "PixelforestError": ".engine.errors",
    "Request": ".engine.jobs",
    "Table": ".engine.arrays.objects",
    "from_project_file": ".engine.arrays.compatibility",
    "load": ".engine.arrays.model",
    "run": ".engine.run.batch",
    "train_forest": ".engine.training.forest",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
