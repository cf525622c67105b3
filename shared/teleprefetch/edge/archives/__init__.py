"""What the node asks of archives: bounded, checked, and the most urgent first."""
