"""Explicit vector operations for the CPU kernels."""
