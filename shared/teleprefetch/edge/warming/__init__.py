"""Warm orders, from a message on the queue to the last report."""
