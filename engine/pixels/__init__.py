"""Pixel features, the classifier on a tile, and the results that come of it."""
