"""From the body of a request to checked queries: JSON, shape, contract, prediction time.

A plainly good body takes the quick way (``include.contracts.decoder``); any other is judged by the validator, which
tells every fault with its place (``subjects[3].distance``) and its reason. One bad subject rejects the request, so that
an answer always has as many predictions as there were subjects. It knows no HTTP and no model.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from include.contracts.contract import Field
from include.contracts.decoder import record_type, seconds_of, time_of
from include.contracts.validator import Valid, Value, validate
from include.declaration import PREDICTION_TIME
from include.streaming.messages import MINUTE_SECONDS
from include.use_case import UseCase, too_near
from speed_service.problems import FieldError, Problem

#: More faults than this are not listed: a client that sends a thousand bad subjects sends one fault many times.
MAX_ERRORS = 50


class Query(msgspec.Struct, frozen=True, gc=False):
    """One checked subject. ``record`` has the contract's fields, typed, its times as seconds since 1970 (UTC), the
    prediction time resolved."""

    id: str
    prediction_seconds: int
    prediction_minute: int
    record: Any

    @property
    def prediction_time(self) -> datetime:
        """The time after which nothing may be known, aware, UTC; ``prediction_minute`` is its minute since 1970."""
        return time_of(self.prediction_seconds)


class QueryReader:
    """Reads the bodies of requests for one use case; built once, since compiling the quick way takes a while."""

    def __init__(self, use_case: UseCase, max_subjects: int) -> None:
        subject = use_case.subject
        record = record_type(subject)
        body: Any = msgspec.defstruct("body", [("subjects", list[record])], forbid_unknown_fields=True)  # type: ignore[valid-type]
        self.use_case = use_case
        self.max_subjects = max_subjects
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(body)
        self._times = tuple(field.name for field in subject.fields if field.type == "timestamp")
        self._key, self._subject_time = subject.key, use_case.subject_time
        self._lead = use_case.prediction_lead_minutes * MINUTE_SECONDS
        self._least_lead = use_case.minimum_lead_minutes * MINUTE_SECONDS

    def read(self, body: bytes) -> list[Query]:
        """The queries of a request body, in order; raises ``Problem`` naming everything that is wrong."""
        return self._quickly(body) or _thoroughly(body, self.use_case, self.max_subjects)

    def _quickly(self, body: bytes) -> list[Query] | None:
        """The queries of a body that is plainly good; None, or none, for any other."""
        try:
            records = self._decoder.decode(body).subjects
            return [self._timed(record) for record in records] if len(records) <= self.max_subjects else None
        except (msgspec.DecodeError, ValueError):
            return None

    def _timed(self, record: Any) -> Query:
        """Put seconds in the place of a record's times; raises ``ValueError`` for a time that is none, or too near."""
        for name in self._times:
            setattr(record, name, seconds_of(getattr(record, name)))
        happens, wanted = getattr(record, self._subject_time), record.prediction_time
        if wanted is None:
            wanted = record.prediction_time = happens - self._lead
        if happens - wanted < self._least_lead:
            raise ValueError(PREDICTION_TIME)
        return Query(getattr(record, self._key), wanted, wanted // MINUTE_SECONDS, record)


def _thoroughly(body: bytes, use_case: UseCase, max_subjects: int) -> list[Query]:
    queries: list[Query] = []
    errors: list[FieldError] = []
    for number, subject in enumerate(_subjects(body, max_subjects)):
        judged = check_subject(subject, use_case)
        if isinstance(judged, Query):
            queries.append(judged)
        else:
            errors.extend(FieldError(_place(number, field), reason) for field, reason in judged)
    if errors:
        raise _invalid(tuple(errors))
    return queries


def check_subject(subject: object, use_case: UseCase) -> Query | list[tuple[str, str]]:
    """A query, or what is wrong with the subject as (field, reason) pairs; field is empty for the whole of it."""
    if not isinstance(subject, dict):
        return [("", "is not an object")]
    shape = list(_shape_faults(subject, use_case))
    judged = validate(subject, use_case.subject)
    if not isinstance(judged, Valid):
        told = dict(_split(reason) for reason in judged)
        return [fault for fault in shape if fault[0] not in told] + list(told.items())
    if shape:
        return shape
    return _checked(judged, use_case)


def _subjects(body: bytes, max_subjects: int) -> list[Any]:
    document = _document(body)
    if not isinstance(document, dict):
        raise _invalid((FieldError("", 'the body is not an object like {"subjects": [...]}'),))
    unknown = [FieldError(_shown(name), "unknown field") for name in document if name != "subjects"]
    if unknown:
        raise _invalid(tuple(unknown))
    subjects = document.get("subjects")
    if not isinstance(subjects, list) or not subjects:
        raise _invalid((FieldError("subjects", "is required: a list of at least one subject"),))
    if len(subjects) > max_subjects:
        detail = f"subjects: {len(subjects)} are more than the {max_subjects} that one request may have"
        raise Problem(422, "too-many-subjects", "Unprocessable Content", detail)
    return subjects


def _shown(name: str) -> str:
    """The beginning of a field's name; JSON lets it be half of a surrogate pair, which no answer can carry."""
    return name[:64].encode("utf-8", "replace").decode()


def _document(body: bytes) -> Any:
    try:
        # Not msgspec: it makes floats of integers beyond 64 bits, whose text the verdict quotes.
        return json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "invalid-json", "Bad Request", f"the body is not JSON: {error}") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON value")


def _shape_faults(subject: Mapping[str, object], use_case: UseCase) -> Iterator[tuple[str, str]]:
    """What is wrong over HTTP beyond the contract, which takes texts as CSV has them: names, and types of JSON."""
    known = use_case.subject.field_names
    for name, value in subject.items():
        if name not in known:
            yield _shown(name), f"unknown field; known are {', '.join(known)}"
            continue
        fault = _type_fault(use_case.subject.field(name), value)
        if fault:
            yield name, fault


def _type_fault(field: Field, value: object) -> str:
    """Why a value's type is not the field's; nothing of what the contract itself judges (null, objects, lists)."""
    if value is None or isinstance(value, dict | list):
        return ""
    if field.type in ("integer", "double"):
        return "must be a number" if isinstance(value, str | bool) else ""
    if not isinstance(value, str):
        return "must be a text"
    return "must be a time, or null" if field.type == "timestamp" and not value else ""


def _checked(judged: Valid, use_case: UseCase) -> Query | list[tuple[str, str]]:
    """A query of a judged subject, unless its prediction time is too near."""
    values = judged.values
    happens, wanted = values[use_case.subject_time], values.get(PREDICTION_TIME)
    assert isinstance(happens, datetime)  # the contract requires it
    if wanted is None:
        wanted = happens - timedelta(minutes=use_case.prediction_lead_minutes)
    assert isinstance(wanted, datetime)
    if happens - wanted < timedelta(minutes=use_case.minimum_lead_minutes):
        return [(PREDICTION_TIME, too_near(use_case))]
    record = record_type(use_case.subject)(**{n: _seconds(v) for n, v in {**values, PREDICTION_TIME: wanted}.items()})
    seconds = int(wanted.timestamp())
    return Query(str(values[use_case.subject.key]), seconds, seconds // MINUTE_SECONDS, record)


def _seconds(value: Value) -> str | int | float | None:
    return int(value.timestamp()) if isinstance(value, datetime) else value


def _split(reason: str) -> tuple[str, str]:
    field, _, why = reason.partition(": ")
    return field, why


def _place(number: int, field: str) -> str:
    return f"subjects[{number}].{field}" if field else f"subjects[{number}]"


def _invalid(errors: Sequence[FieldError]) -> Problem:
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    detail = f"{first.field}: {first.reason}{more}" if first.field else f"{first.reason}{more}"
    return Problem(422, "invalid-request", "Unprocessable Content", detail, tuple(errors[:MAX_ERRORS]))
