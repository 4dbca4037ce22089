"""Arrays in, arrays out: projects on images in memory, or in anything that is indexed like an array.

An array is the reader of an ``InputImage`` and a result is a ``TileSink``, so every kind of project computes them as it
computes files.
"""
