"""The network against its rivals on a year of flights: ``make bench-training``."""
