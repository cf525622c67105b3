"""What operators do to a running stack: see, replay, warm, purge, drain, check."""
