"""One file an image format, its reader and its writers side by side."""
