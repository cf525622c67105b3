"""Pages for people: the node's status, and the released viewer's files."""
