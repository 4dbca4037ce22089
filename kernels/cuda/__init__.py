"""The CUDA backend. Importing this imports nothing of CUDA; only ``cupy_device`` does."""
