"""Sensors: tasks that wait, deferred, for what another system does."""
