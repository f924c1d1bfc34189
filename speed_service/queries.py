"""From the body of a request to checked queries: JSON, shape, contract, prediction time.

Every fault is told with its place (``subjects[3].distance``) and its reason; one bad subject rejects the request, so
that an answer always has as many predictions as there were subjects. It knows no HTTP and no model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from include.contracts.validator import Valid, Value, validate
from include.use_case import UseCase
from speed_service.problems import FieldError, Problem

#: More faults than this are not listed: a client that sends a thousand bad subjects sends one fault many times.
MAX_ERRORS = 50
PREDICTION_TIME = "prediction_time"
_decoder = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class Query:
    """One checked subject. Times are aware, UTC; ``values`` are typed by the contract."""

    id: str
    prediction_time: datetime
    values: Mapping[str, Value]


def parse_queries(body: bytes, use_case: UseCase, max_subjects: int) -> list[Query]:
    """The queries of a request body, in order; raises ``Problem`` naming everything that is wrong."""
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
        return shape + [_split(reason) for reason in judged]
    if shape:
        return shape
    return _timed(judged, use_case)


def _subjects(body: bytes, max_subjects: int) -> list[Any]:
    try:
        document = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "invalid-json", "Bad Request", f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise _invalid((FieldError("", 'the body is not an object like {"subjects": [...]}'),))
    unknown = [FieldError(name[:64], "unknown field") for name in document if name != "subjects"]
    if unknown:
        raise _invalid(tuple(unknown))
    subjects = document.get("subjects")
    if not isinstance(subjects, list) or not subjects:
        raise _invalid((FieldError("subjects", "is required: a list of at least one subject"),))
    if len(subjects) > max_subjects:
        detail = f"subjects: {len(subjects)} are more than the {max_subjects} that one request may have"
        raise Problem(422, "too-many-subjects", "Unprocessable Content", detail)
    return subjects


def _shape_faults(subject: Mapping[str, object], use_case: UseCase) -> Iterator[tuple[str, str]]:
    known = use_case.subject.field_names
    for name in subject:
        if name not in known:
            yield name[:64], f"unknown field; known are {', '.join(known)}"


def _timed(judged: Valid, use_case: UseCase) -> Query | list[tuple[str, str]]:
    values = judged.values
    happens, wanted = values[use_case.subject_time], values.get(PREDICTION_TIME)
    assert isinstance(happens, datetime)  # the contract requires it
    if wanted is None:
        wanted = happens - timedelta(minutes=use_case.prediction_lead_minutes)
    assert isinstance(wanted, datetime)
    if happens - wanted < timedelta(minutes=use_case.minimum_lead_minutes):
        why = (
            f"is later than {use_case.minimum_lead_minutes} minutes before {use_case.subject_time}: "
            "the outcome could be known by then"
        )
        return [(PREDICTION_TIME, why)]
    return Query(str(values[use_case.subject.key]), wanted, values)


def _split(reason: str) -> tuple[str, str]:
    field, _, why = reason.partition(": ")
    return field, why


def _place(number: int, field: str) -> str:
    return f"subjects[{number}].{field}" if field else f"subjects[{number}]"


def _invalid(errors: tuple[FieldError, ...]) -> Problem:
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    detail = f"{first.field}: {first.reason}{more}" if first.field else f"{first.reason}{more}"
    return Problem(422, "invalid-request", "Unprocessable Content", detail, errors[:MAX_ERRORS])
