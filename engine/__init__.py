"""What is computed, in which order, on which part of the image. Nothing is imported before it is needed."""
