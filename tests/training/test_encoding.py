"""Encoders learn from the training days alone, survive JSON, and give missing and unseen values a place."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from include.training.encoding import MISSING, RARE, CategoryEncoder, Encoders, NumericEncoder
from tests.training.synthetic import FEATURES, rows

DATA = rows(day_count=2, per_day=500)
ENCODERS = Encoders.fit(FEATURES, DATA.columns, bins=8, minimum_count=10)


def test_json_gives_the_same_encoding() -> None:
    again = Encoders.from_json(json.loads(json.dumps(ENCODERS.to_json())))
    expected, got = ENCODERS.encode(DATA.columns), again.encode(DATA.columns)
    np.testing.assert_array_equal(expected.numeric, got.numeric)
    np.testing.assert_array_equal(expected.category, got.category)


def test_missing_unseen_and_rare_categories_have_codes_of_their_own() -> None:
    encoder = CategoryEncoder.fit("c", np.array(["a"] * 12 + ["b"] * 11 + ["seldom", None], dtype=object), 10)
    assert encoder.values == ("a", "b")
    columns = {"c": np.array(["a", "b", "seldom", "never seen", None], dtype=object)}
    assert Encoders((), (encoder,)).encode(columns).category[:, 0].tolist() == [2, 3, RARE, RARE, MISSING]


def test_missing_numbers_stay_missing_and_outliers_are_bounded() -> None:
    encoder = NumericEncoder.fit("x", np.array([1.0, 2.0, 3.0, np.nan]), bins=2)
    encoded = Encoders((encoder,), ()).encode({"x": np.array([2.0, np.nan, np.inf, 1e12])}).numeric[:, 0]
    assert encoded[0] == 0.0
    assert np.isnan(encoded[1:3]).all()
    assert encoded[3] == 10.0


def test_a_feature_that_says_nothing_gets_no_edges() -> None:
    assert NumericEncoder.fit("x", np.full(5, np.nan), bins=4).edges == ()
    assert NumericEncoder.fit("x", np.full(5, 7.0), bins=4).edges == ()


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=200))
@settings(max_examples=50)
def test_edges_rise_and_span_the_values(values: list[float]) -> None:
    edges = NumericEncoder.fit("x", np.array(values), bins=8).edges
    assert list(edges) == sorted(set(edges))
    if edges:
        assert edges[0] == min(values)
        assert edges[-1] == max(values)


def test_a_constant_has_a_scale_of_one_whatever_its_mean_is_rounded_to() -> None:
    found = NumericEncoder.fit("x", np.full(1000, 0.3), 24)
    assert (found.scale, found.edges) == (1.0, ())
    assert np.full(1000, 0.3).std() != 0.0, "else this tests nothing"
