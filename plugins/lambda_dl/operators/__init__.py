"""Operators: one task that does something in another system and dies with its task."""
