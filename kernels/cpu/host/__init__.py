"""Python around the compiled CPU kernels."""
