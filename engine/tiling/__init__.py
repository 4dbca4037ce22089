"""Cutting of a region into tiles, and their stream through reading, computing and writing."""
