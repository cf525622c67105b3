"""The node's audit on disk: lanes, group commit, checkpoints, and reading it all back."""
