"""What is wrong with a contract or a use case is told when it is made, all of it, in words."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from include.contracts.contract import RESERVED, Contract, Field, MomentRule
from include.features.spec import Reference
from include.tables import quarantine_table, raw_table
from include.tiles.spec import Measure
from include.use_case import Quality, UseCase, load_use_case

PARCELS = load_use_case("template")
ORDERS = PARCELS.source("orders")
TILE, WINDOW = PARCELS.tiles[0], PARCELS.features.windows[0]


def changed(**changes: Any) -> UseCase:
    return replace(PARCELS, **changes)


def with_source(source: Contract) -> UseCase:
    """The use case with another declaration of one source."""
    return changed(sources=tuple(source if one.name == source.name else one for one in PARCELS.sources))


def test_no_field_has_the_name_of_a_column_beside_it() -> None:
    own = set(ORDERS.field_names)
    beside = {c.name for table in (raw_table(ORDERS), quarantine_table(ORDERS)) for c in table.columns} - own
    assert beside <= RESERVED
    with pytest.raises(ValueError, match="fields may not be called offset, reasons"):
        replace(ORDERS, fields=(*ORDERS.fields, Field("Reasons", "string", ""), Field("offset", "double", "")))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fields": (*ORDERS.fields, ORDERS.fields[1])}, "fields are there twice: depot"),
        ({"fields": (*ORDERS.fields, Field("a-b", "string", ""))}, r"fields are called \['a-b'\]"),
        ({"key": "parcel"}, "its key 'parcel' must be a field"),
        ({"key": "weight_kg"}, "its key 'weight_kg' must be a field that may not be empty"),
        ({"event_time": MomentRule("depot")}, "'depot', which a time follows from, must be a field of type timestamp"),
        ({"announced_days": -1}, "announced_days is -1"),
    ],
)
def test_what_is_wrong_with_a_contract(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"contract 'orders': {words}"):
        replace(ORDERS, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"subject_source": "parcels"}, r"subject_source names sources \['parcels'\]"),
        (
            {"silence_minutes": {"order": 5}},
            r"silence_minutes names sources \['order'\], which do not exist",
        ),
        ({"quality": Quality(accuracy={"order": "true"})}, r"quality.accuracy names sources \['order'\]"),
        ({"quality": Quality(about_subjects=("order",))}, r"quality.about_subjects names sources \['order'\]"),
        ({"slices": ("no such",)}, r"slices by \['no such'\], which are no features"),
        ({"subject_time": "promised"}, "its times are 'promised', which 'subject' does not have"),
        (
            {"minimum_lead_minutes": 121},
            "minimum_lead_minutes is 121: choose one from 0 to .*, 120",
        ),
        ({"prediction_lead_minutes": 2881}, "label_horizon_days is 1, .* choose 3 or more"),
        ({"tiles": (replace(TILE, source="order"), *PARCELS.tiles[1:])}, r"tiles names sources \['order'\]"),
        (
            {"tiles": (replace(TILE, key=("promised_at",)), *PARCELS.tiles[1:])},
            "of type timestamp in .* string or integer",
        ),
        ({"tiles": PARCELS.tiles[1:]}, "which is not among the use case's tiles"),
    ],
)
def test_what_is_wrong_with_a_use_case(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"use case 'template': .*{words}"):
        changed(**changes)


def test_measures_keys_and_references_meet_fields_of_a_type_that_is_one_text_everywhere() -> None:
    texts = replace(TILE, measures=(Measure("latest", "last", "depot"),))
    with pytest.raises(ValueError, match="measures 'depot', which is of type string .* must be integer or double"):
        changed(tiles=(texts, *PARCELS.tiles[1:]))
    for window, words in (
        (
            replace(WINDOW, key=("promised_at",) * len(WINDOW.key)),
            "is looked up by 'promised_at', which is of type timestamp",
        ),
        (replace(WINDOW, key=(*WINDOW.key, "id")), f"has a key of {len(WINDOW.key) + 1} fields"),
    ):
        with pytest.raises(ValueError, match=words):
            changed(features=replace(PARCELS.features, windows=(window,)))
    numbered = Reference("depots", "weight_kg", "depot", {"size": "numeric"}, "")
    with pytest.raises(ValueError, match="reference 'depots' is joined by 'weight_kg', which is of type double"):
        changed(features=replace(PARCELS.features, references=(numbered,)))


def test_the_subject_is_what_batch_knows_too() -> None:
    unknown = replace(ORDERS, fields=tuple(field for field in ORDERS.fields if field.name != "weight_kg"))
    with pytest.raises(ValueError, match="batch must know what a client may say: 'weight_kg', which 'orders' does not"):
        with_source(unknown)
    with pytest.raises(ValueError, match="the event_time of 'orders' is not 'promised_at', the subject_time"):
        with_source(replace(ORDERS, event_time=MomentRule("ordered_at")))
    two_moments = replace(PARCELS.subject, available_time=MomentRule("promised_at", plus_minutes=-5))
    with pytest.raises(ValueError, match="a question is about one moment"):
        changed(subject=two_moments)
    asked = replace(ORDERS, fields=(*ORDERS.fields, Field("prediction_time", "timestamp", "")))
    with pytest.raises(ValueError, match=r"sources \['orders'\] have a field prediction_time"):
        with_source(asked)


@pytest.mark.parametrize("name", ["metrics", "references", "labels"])
def test_no_source_is_called_as_what_every_use_case_has(name: str) -> None:
    other = replace(PARCELS.sources[-1], name=name)
    with pytest.raises(ValueError, match=f"sources are called {name}"):
        changed(sources=(*PARCELS.sources, other))


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"silence_minutes .*slices by .*minimum_lead_minutes is -1"):
        changed(silence_minutes={"x": 1}, slices=("y",), minimum_lead_minutes=-1, history_start=date(2024, 1, 1))
