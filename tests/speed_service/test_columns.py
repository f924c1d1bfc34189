"""Queries become columns directly, and exactly as the batch layer's way through Arrow makes them."""

import json
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.features.columns import ARROW_TYPES, numpy_columns
from include.features.columns import key_texts as arrow_keys
from include.use_case import UseCase, load_use_case
from speed_service.columns import key_texts, subject_columns
from speed_service.queries import Query, QueryReader, check_subject
from tests.speed_service.conftest import subject

USE_CASE = load_use_case("flight_delay")
SUBJECTS = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1, max_size=10).filter(lambda text: text.isprintable()),
        "carrier": st.sampled_from(["UA", "B6", "é"]),
        "flight": st.integers(1, 9999),
        "origin": st.sampled_from(["EWR", "JFK", "LGA"]),
        "dest": st.sampled_from(["IAH", "a|b"]),
        "tailnum": st.none() | st.sampled_from(["N1", "N|2"]),
        "distance": st.integers(1, 12000),
        "scheduled_departure": st.datetimes(datetime(1970, 1, 2), datetime(2060, 1, 1)).map(
            lambda t: t.strftime("%Y-%m-%dT%H:%M:%SZ")
        ),
    }
)


def arrow_table(queries: list[Query]) -> pa.Table:
    """The queries as the batch layer would hold them."""
    fields = {field.name: ARROW_TYPES[field.type] for field in USE_CASE.subject.fields}
    scale = {"timestamp": 10**6}
    columns = {}
    for field in USE_CASE.subject.fields:
        values = [getattr(query.record, field.name) for query in queries]
        factor = scale.get(field.type)
        columns[field.name] = pa.array([v * factor if factor else v for v in values], fields[field.name])
    return pa.table(columns)


@given(st.lists(SUBJECTS, min_size=1, max_size=5))
def test_columns_and_keys_are_those_of_arrow(subjects: list[dict[str, Any]]) -> None:
    queries = QueryReader(USE_CASE, 10).read(json.dumps({"subjects": subjects}).encode())
    records = [query.record for query in queries]
    expected = numpy_columns(arrow_table(queries))
    for name, column in subject_columns(records, USE_CASE.subject).items():
        assert column.dtype == expected[name].dtype, name
        np.testing.assert_array_equal(column, expected[name])
    for key in {window.key for window in USE_CASE.features.windows}:
        assert list(key_texts(records, key)) == arrow_keys(arrow_table(queries), key)


@given(SUBJECTS, st.sampled_from([None, "2013-01-01T00:00:00Z", "2012-12-31T23:59:59Z"]))
def test_the_quick_way_and_the_thorough_one_give_the_same_query(
    given_subject: dict[str, Any], wanted: str | None
) -> None:
    item = {**given_subject, "prediction_time": wanted}
    thorough = check_subject(item, USE_CASE)
    if not isinstance(thorough, Query):
        return
    (quick,) = QueryReader(USE_CASE, 10).read(json.dumps({"subjects": [item]}).encode())
    assert quick == thorough


@pytest.mark.parametrize(
    ("name", "value"), [("flight", "7"), ("flight", True), ("carrier", 9), ("prediction_time", "")]
)
def test_over_http_types_are_those_of_the_description(use_case: UseCase, name: str, value: Any) -> None:
    faults = check_subject(subject(**{name: value}), use_case)
    assert isinstance(faults, list) and [field for field, _ in faults] == [name]
