"""How a region is cut into tiles and how they pass through reading, computing and writing."""
