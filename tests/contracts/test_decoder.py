"""The quick decoder takes only what the validator takes, and with the same values; what is plainly good it takes."""

import json
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.contracts.decoder import record_type, seconds_of, time_of
from include.contracts.validator import Valid, validate
from tests.contracts.test_contract_parity import CONTRACT, GOOD, RECORDS, TEXTS

DECODER: "msgspec.json.Decoder[Any]" = msgspec.json.Decoder(record_type(CONTRACT))
NESTED = st.sampled_from([{}, [], {"a": 1}, ["x"]])
MESSAGES = st.one_of(
    RECORDS,
    st.tuples(RECORDS, st.dictionaries(st.sampled_from(CONTRACT.field_names), NESTED, max_size=1)).map(
        lambda parts: {**parts[0], **parts[1]}
    ),
)


def quickly(text: bytes) -> dict[str, Any] | None:
    """The record's values, times as seconds; None if it is not taken."""
    try:
        record = DECODER.decode(text)
        return {
            field.name: seconds_of(value) if field.type == "timestamp" else value
            for field in CONTRACT.fields
            for value in [getattr(record, field.name)]
        }
    except (msgspec.DecodeError, ValueError):
        return None


def thoroughly(text: bytes) -> dict[str, Any] | None:
    try:
        judged = validate(json.loads(text), CONTRACT)
    except ValueError:
        return None
    if not isinstance(judged, Valid):
        return None
    return {n: int(v.timestamp()) if isinstance(v, datetime) else v for n, v in judged.values.items()}


def check(text: bytes) -> bool:
    """Whether the quick way takes it; then it must say what the validator says, type for type."""
    quick = quickly(text)
    if quick is not None:
        slow = thoroughly(text)
        assert slow == quick, text
        assert {n: type(v) for n, v in slow.items()} == {n: type(v) for n, v in quick.items()}, text
    return quick is not None


@settings(max_examples=500, suppress_health_check=list(HealthCheck))
@given(MESSAGES, st.booleans())
def test_what_is_taken_quickly_is_good(message: dict[str, Any], ascii_only: bool) -> None:
    check(json.dumps(message, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("name", CONTRACT.field_names)
def test_odd_texts_and_numbers_in_each_field(name: str) -> None:
    odd = [
        "1e2",
        "1.0",
        "-0",
        "-0.0",
        "1E400",
        "12345678901234567890",
        "999999999999999999",
        "true",
        "null",
        "1e17",
        "[]",
    ]
    values = [*(json.dumps(text) for text in TEXTS), *odd]
    for value in values:
        fields = {**{n: json.dumps(v) for n, v in GOOD.items()}, name: value}
        check(("{" + ", ".join(f'"{n}": {v}' for n, v in fields.items()) + "}").encode())


def test_plainly_good_records_are_taken() -> None:
    good = {
        "id": "x",
        "kind": "a",
        "amount": 7,
        "big": 5,
        "level": 1.5,
        "free": None,
        "seen_at": "2013-01-29T10:15:00Z",
    }
    assert check(json.dumps(good).encode())
    assert check(json.dumps({"id": "x", "amount": 7, "seen_at": "2013-01-29T10:15:00Z"}).encode())
    assert check(json.dumps({**good, "level": 1}).encode())
    assert not check(json.dumps({**good, "amount": "7"}).encode())  # good, but not plainly
    assert not check(json.dumps({**good, "other": 1}).encode())


@given(st.integers(0, 4_000_000_000))
def test_seconds_and_times_are_each_others_inverse(seconds: int) -> None:
    assert seconds_of(f"{time_of(seconds):%Y-%m-%dT%H:%M:%SZ}") == seconds


def test_only_times_of_the_contracts_form_are_times() -> None:
    assert seconds_of(None) is None
    for text in ("20130101T000000.000Z", "2013-02-30T00:00:00Z", "2013-01-01T00:00:00z", "2013-01-01 00:00:00Z"):
        with pytest.raises(ValueError):
            seconds_of(text)
