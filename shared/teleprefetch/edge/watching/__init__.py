"""What a node tells of itself: logs, counters, last orders, status."""
