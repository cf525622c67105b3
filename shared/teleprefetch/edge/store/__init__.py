"""The node's store: segments of frames, their proofs, and an index that several processes share."""
