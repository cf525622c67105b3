"""The node's doorway: token, then policy, then the audit's record, before any byte goes out."""
