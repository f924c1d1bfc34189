"""The static tables beside the facts: none. All that is known of an hour stands in the calendar."""

from include.features.spec import Reference

REFERENCES: tuple[Reference, ...] = ()
