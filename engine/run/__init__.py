"""Runs of a job: it is checked, explained, computed lane by lane and reported."""
