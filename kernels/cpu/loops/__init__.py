"""CPU kernels: numba functions."""
