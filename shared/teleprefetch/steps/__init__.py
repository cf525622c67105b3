"""One module per Task state, each with one `run`; ports are passed in."""
