"""pixelforest runs trained ilastik projects without ilastik: same command line, same files, same numbers."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine import train_forest as train_forest

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import a public name on first use, so that importing the package costs nothing."""
    if name == "train_forest":
        from .engine import train_forest

        return train_forest
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
