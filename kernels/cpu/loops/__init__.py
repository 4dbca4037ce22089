"""The CPU kernels: numba functions."""
