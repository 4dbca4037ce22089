"""Training of forests and of projects."""
