"""Tables and rules that all backends share, computed once on the host."""
