"""The sentences of the flows, and the batch that says them lane by lane."""
