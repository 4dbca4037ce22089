"""``python -m pixelforest`` is the command line."""

import sys

from pixelforest.cli import main

if __name__ == "__main__":
    sys.exit(main())
