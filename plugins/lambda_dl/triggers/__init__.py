"""Triggers: what the triggerer runs while a task is deferred. Their whole state is in ``serialize``."""
