"""Facts and pictures of a lane that are gathered while it is computed, for reports; no file is read for them."""
