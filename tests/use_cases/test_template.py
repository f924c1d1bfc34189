"""Parcels: generated facts keep their contracts, no feature knows what nobody could know, labels are what happened."""

from datetime import UTC, date, datetime, timedelta

import pytest
from pyspark.sql import SparkSession

from include.use_case import load_use_case
from include.use_cases.template import feeder, generated, replay
from tests.use_cases.rules import Facts, broken_contracts, features_at, known_before, known_too_early, labels_of

USE_CASE = load_use_case("template")
FIRST = date(2024, 1, 5)
LAST = FIRST + timedelta(days=1)
#: In the middle of the second day, between two tile borders.
NOON = datetime(2024, 1, 6, 12, 0, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def facts() -> Facts:
    return replay.facts(FIRST, LAST)


def references() -> dict[str, bytes]:
    return {key.split("/")[-1].split(".")[0]: content for key, content in feeder.reference_files(USE_CASE.name).items()}


def test_every_fact_keeps_its_contract_and_lands_on_its_day(facts: Facts) -> None:
    assert broken_contracts(USE_CASE, facts) == []
    assert all(len(rows) > 50 for rows in facts.values())
    files = list(feeder.day_files(USE_CASE.name, FIRST, LAST))
    assert files == list(feeder.day_files(USE_CASE.name, FIRST, LAST)), "the same facts must give the same bytes"
    assert sum(file.rows for file in files) == sum(len(rows) for rows in facts.values())
    assert list(feeder.day_files(USE_CASE.name, LAST, LAST)) == files[-len(USE_CASE.sources) :]


def test_nothing_about_a_subject_is_known_while_clients_may_ask(facts: Facts) -> None:
    assert known_too_early(USE_CASE, facts) == []


def test_features_follow_what_was_known_and_nothing_later(spark: SparkSession, facts: Facts) -> None:
    everything = features_at(spark, USE_CASE, facts, references(), NOON)
    # The tile of the prediction time's own minute does not count; the subjects themselves may be announced later.
    known = known_before(USE_CASE, facts, NOON.replace(second=0))
    asked = {USE_CASE.subject_source: facts[USE_CASE.subject_source]}
    assert len(everything) > 100
    assert everything == features_at(spark, USE_CASE, {**known, **asked}, references(), NOON)
    constant = {f.name for f in USE_CASE.features.features if len({row[f.name] for row in everything.values()}) == 1}
    # All are asked at one time: only what that time alone says may be the same for all.
    assert constant <= {"traffic_age", "day_of_week"}


def test_labels_are_what_happened(spark: SparkSession) -> None:
    known = replay.facts(FIRST - generated.REACH, LAST)
    found = labels_of(spark, USE_CASE, known, FIRST)
    assert {name: label for name, (label, _) in found.items()} == replay.outcomes(FIRST, FIRST)
    assert {outcome for _, outcome in found.values()} == {"on_time", "late", "missing"}
