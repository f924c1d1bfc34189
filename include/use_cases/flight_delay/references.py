"""The static tables beside the facts: aircraft and airports. Keys they lack are information, not errors."""

from include.features.spec import Reference

PLANES = Reference(
    name="planes",
    key="tailnum",
    key_column="tailnum",
    columns={"year": "numeric", "seats": "numeric", "engines": "numeric", "manufacturer": "text", "model": "text"},
    comment="Aircraft by tail number; charter and foreign registrations are missing",
)
AIRPORTS = Reference(
    name="airports",
    key="dest",
    key_column="faa",
    columns={"lat": "numeric", "lon": "numeric", "alt": "numeric"},
    comment="Airports by FAA code; those of Puerto Rico and the Virgin Islands are missing",
)
REFERENCES = (PLANES, AIRPORTS)
