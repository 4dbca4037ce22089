"""Input and output of a terminal: options, log, texts, reports, exit status."""
