"""Drills on the real servers, longer than a test may take: ``make drills``."""
