"""Frozen features of patches: encoders, the store on disk, indexing. Knows nothing of labels."""
