"""The cache node beside the readers: a worker that warms and a server that serves."""
