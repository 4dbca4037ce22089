"""How a job is run: checked, explained, computed lane by lane, reported."""
