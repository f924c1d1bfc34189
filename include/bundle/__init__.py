"""A model with all it needs, immutable and content-addressed, and the object store it lies in."""
