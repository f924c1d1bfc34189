"""Time and memory of the batch layer at 0.3, 3 and 30 million facts: ``make bench-scale``."""
