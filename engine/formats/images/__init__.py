"""Image formats, one file each with its reader and its writers."""
