"""From a segmentation or prediction maps to objects: threshold, labels, features, classes."""
