"""Definitions of all operations by simple NumPy code, slow and obvious."""
