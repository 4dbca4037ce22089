"""Inputs of a job: arguments of the command line become lanes of opened images."""
