"""The right priors, already beside the reader, before the reader is told there is work."""

__version__ = "0.1.0"
