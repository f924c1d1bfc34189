"""How fast analysts are served: ``make bench-serving``."""
