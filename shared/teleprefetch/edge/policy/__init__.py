"""The node's policies: Cedar files, the engine that evaluates them, and the gatekeeper."""
