"""Object Classification."""
