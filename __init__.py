"""pixelforest runs trained ilastik projects without ilastik: same command line, same files, same numbers."""

__version__ = "0.1.0"
