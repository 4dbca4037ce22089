"""From arguments of the command line to lanes of opened images."""
