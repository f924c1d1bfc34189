"""Tiles and windows: one minute of one source for one key, and their combination up to a prediction time."""
