"""One module per Task state: parse, call the step, report."""
