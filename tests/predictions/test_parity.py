"""Parity to the bit: what differs, what does not, and how a day is told."""

import math
import struct

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from include.features.spec import Feature
from include.metrics import metric_row
from include.predictions.parity import (
    AGAIN,
    DayParity,
    differences,
    freshness_messages,
    parity_messages,
)
from include.tables import DATA_QUALITY, RUNTIME_METRICS
from include.target import BINARY

NUMBER, TEXT = Feature("warmth", "numeric", ""), Feature("colour", "categorical", "")
doubles = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, -0.0, 0.1 + 0.2, 0.3]))


def pairs(left: list[float | None], right: list[float | None]) -> pa.Table:
    texts = pa.array(["red"] * len(left))
    numbers = {NUMBER.name: pa.array(left, pa.float64()), AGAIN + NUMBER.name: pa.array(right, pa.float64())}
    return pa.table({**numbers, TEXT.name: texts, AGAIN + TEXT.name: texts})


def bytes_of(value: float | None) -> bytes:
    return b"nan" if value is None or math.isnan(value) else struct.pack("<d", value)


@given(st.lists(st.tuples(doubles, doubles), min_size=1, max_size=20))
def test_doubles_differ_when_their_bytes_do(rows: list[tuple[float | None, float | None]]) -> None:
    left, right = [list(side) for side in zip(*rows, strict=True)]
    found = differences(pairs(left, right), [NUMBER, TEXT])
    assert found == [["warmth"] if bytes_of(a) != bytes_of(b) else [] for a, b in rows]


def test_every_nan_is_the_same_and_so_is_null() -> None:
    odd = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))[0]
    assert differences(pairs([odd, None, math.nan], [math.nan, odd, None]), [NUMBER]) == [[], [], []]


def test_the_last_bit_counts() -> None:
    assert differences(pairs([1.0], [float(np.nextafter(1.0, 2.0))]), [NUMBER]) == [["warmth"]]
    assert differences(pairs([0.0], [-0.0]), [NUMBER]) == [["warmth"]]


def test_texts_differ_by_their_letters_and_by_null() -> None:
    left, right = ["red", "red", None, None], ["red", "Red", "red", None]
    table = pa.table({"colour": pa.array(left), AGAIN + "colour": pa.array(right)})
    assert differences(table, [TEXT]) == [[], ["colour"], ["colour"], []]


def test_late_rows_are_counted_apart() -> None:
    day = DayParity("2013-01-02", 12, 1, 10, 2, 1, 1, {"warmth": 1}, ("a",))
    assert dict(day.shares()) == {"parity": 1 - 1 / 8, "parity_explained_by_late": 0.2}
    assert day.unknown_subjects == 1
    later = DayParity("2013-01-02", 12, 1, 10, 2, 1, superseded=4)
    assert dict(later.shares()) == {"parity": 1 - 1 / 4, "parity_explained_by_late": 0.2}, "withdrawn: not judged"
    assert dict(DayParity("2013-01-02", 4, compared=4, explained=4).shares())["parity"] == 1.0
    assert DayParity("2013-01-02", 4, other_definition=4).shares() == []


def test_a_day_in_words_says_what_differs() -> None:
    day = DayParity("2013-01-02", 12, 1, 10, 2, 1, 1, {"warmth": 1}, ("a",))
    assert day.words() == (
        "2013-01-02: 12 predictions logged, 7 equal bit for bit, 2 explained by late facts, 1 different; not "
        "comparable: 1 of another feature definition, 1 of unknown subjects, 0 of facts withdrawn or restored since. "
        "1 rows differ (1 of them said to be degraded) in warmth (1); subjects a"
    )


def test_the_messages_are_metrics() -> None:
    found = parity_messages("house", "run", "2013-01-04T00:00:00Z", [DayParity("2013-01-02", 4, compared=4)])
    assert [metric_row(message, "house", BINARY)[0] for _, message in found] == [DATA_QUALITY, DATA_QUALITY]
    assert [(m["source"], m["dimension"], m["value"]) for _, m in found] == [
        ("predictions", "parity", 1.0),
        ("predictions", "parity_explained_by_late", 0.0),
    ]


def test_freshness_is_a_runtime_metric_of_the_day_by_source_and_quantile() -> None:
    rows = [{"ds": "2013-01-02", "source": "readings", "seconds": [0.0, 60.0, 600.0]}]
    found = freshness_messages("house", "run", "2013-01-04T00:00:00Z", rows)
    table, row = metric_row(found[1][1], "house", BINARY)
    assert table is RUNTIME_METRICS
    assert (row["ds"], row["instance"], row["value"]) == ("2013-01-02", "score_predictions", 60.0)
    assert row["name"] == 'prediction_freshness_seconds{source="readings",quantile="0.95"}'
    assert len({key for key, _ in found}) == 3
