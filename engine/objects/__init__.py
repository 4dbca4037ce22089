"""Objects of a frame, from prediction maps or a segmentation: threshold, labels, features, classes."""
