"""The static tables beside the facts. Keys they lack are information, not errors."""

from include.features.spec import Reference

DEPOTS = Reference(
    name="depots",
    key="depot",
    key_column="depot",
    columns={"vans": "numeric", "zone": "text"},
    comment="Depots by name; a new one is missing until somebody adds it",
)
REFERENCES = (DEPOTS,)
