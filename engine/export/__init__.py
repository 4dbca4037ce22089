"""Export of a computed result to the requested file: region, range, type, axis order, name, format."""
