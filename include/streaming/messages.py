"""The messages of the speed layer, as they travel on Kafka: heartbeats, tiles, progress, prepared queries, rejections.

One declaration for the Spark job that writes them and the speed service that reads them; docs/schemas publishes them
for other languages. Values are JSON objects, times RFC 3339 in UTC. It knows neither Kafka's client nor any domain.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

#: The field that makes a message on a source topic a heartbeat; no contract may have a field of this name.
HEARTBEAT_FIELD = "complete_through"
#: Where a rejected query came from; a rejected fact came from its source.
QUERIES = "queries"
PROBLEM_TYPE = "urn:lambda-dl:problem:"
INVALID, LATE, CONFLICTING = "invalid-request", "late-fact", "conflicting-fact"
TITLES = {INVALID: "Unprocessable Content", LATE: "Late fact", CONFLICTING: "Conflicting fact"}
#: How much of a rejected record is kept in its rejection.
RECORD_CHARACTERS = 1000
MINUTE_SECONDS = 60
#: HTTP's status for a well-formed message that says something wrong.
STATUS = 422


class TileUpdate(msgspec.Struct, frozen=True, tag_field="type", tag="tile"):
    """One tile as it is now, whole: a later update of the same tile, key and minute replaces it."""

    tile: str
    key: str
    minute: str
    values: list[int | None]

    @property
    def message_key(self) -> str:
        """What a later update replaces on the compacted topic."""
        return f"tile|{self.tile}|{self.minute}|{self.key}"


class Progress(msgspec.Struct, frozen=True, tag_field="type", tag="progress"):
    """How far the stream has come in one source: minutes (UTC).

    The stream has seen the source from ``since`` on. Tiles before ``closed`` are final; those before ``border`` may be
    looked at. Sent after the tiles that it covers.
    """

    source: str
    since: str
    closed: str
    border: str

    @property
    def message_key(self) -> str:
        """What a later report replaces on the compacted topic."""
        return f"progress|{self.source}"


class PreparedQuery(msgspec.Struct, frozen=True):
    """A query that satisfies its contract, with the reference columns that Spark has joined to it.

    ``subject`` has every contract field, ``prediction_time`` resolved. ``reference_versions`` are SHA-256 sums of the
    reference tables' plain CSV, so that a reader can tell whether they are those that its model was trained on.
    """

    subject: dict[str, Any]
    references: dict[str, float | str | None]
    reference_versions: dict[str, str]


class FieldFault(msgspec.Struct, frozen=True):
    """One thing wrong with one field."""

    field: str
    reason: str


class Rejection(msgspec.Struct, frozen=True):
    """Why a fact or a query was not taken: RFC 9457 problem details, and what was rejected."""

    id: str | None
    source: str
    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldFault]
    record: str
    time: str


TilesMessage = TileUpdate | Progress
_tiles_decoder = msgspec.json.Decoder(TilesMessage)
_encoder = msgspec.json.Encoder()


def decode_tiles_message(value: bytes) -> TilesMessage:
    """A message of the tiles topic; raises ``msgspec.DecodeError`` (``ValidationError`` is one) if it is none."""
    message: TilesMessage = _tiles_decoder.decode(value)
    return message


def encode(message: msgspec.Struct) -> bytes:
    """The JSON of any message."""
    return _encoder.encode(message)


def rejection(
    identity: str | None, source: str, kind: str, reasons: Sequence[str], record: str, time: str
) -> Rejection:
    """A rejection from reasons such as ``distance: '-3' is below 1`` (field, colon, what is wrong).

    Of an identity, too, only the beginning is told: a broker takes no message that holds a whole long one twice.
    """
    identity = identity and identity[:RECORD_CHARACTERS]
    faults = [FieldFault(*_split(reason)) for reason in reasons]
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    detail = f"{reasons[0]}{more}" if reasons else TITLES[kind]
    return Rejection(
        identity, source, PROBLEM_TYPE + kind, TITLES[kind], STATUS, detail, faults, record[:RECORD_CHARACTERS], time
    )


def _split(reason: str) -> tuple[str, str]:
    field, _, why = reason.partition(": ")
    return (field, why) if why else ("", field)


def minute_text(minute: int) -> str:
    """Minutes since 1970 as RFC 3339."""
    return datetime.fromtimestamp(minute * MINUTE_SECONDS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def minute_of(text: str) -> int:
    """The whole minutes since 1970 of an RFC 3339 time, floored; raises ``ValueError`` if it is none."""
    return int(datetime.fromisoformat(text).timestamp()) // MINUTE_SECONDS
