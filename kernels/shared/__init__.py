"""What both backends must agree on, computed once on the host."""
