"""The medicine and the arithmetic: pure functions of their arguments, no clock, no I/O."""
