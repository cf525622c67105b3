"""HTTP/1.1 on one event loop: connections, what they share, and answers kept in memory."""
