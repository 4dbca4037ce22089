"""From a computed result to the file a user asked for: region, range, type, axis order, name, format."""
