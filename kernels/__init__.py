"""How an operation is computed: arrays in, arrays out; no file, no project, no axis name."""
