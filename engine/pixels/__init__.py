"""Pixel features, the classifier on a tile, and its results."""
