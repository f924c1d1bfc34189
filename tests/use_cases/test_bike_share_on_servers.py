"""Hired bikes on the real servers: from landing files of 2011 to an answer of the predictor."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from include.use_case import load_use_case
from include.use_cases.bike_share import feeder
from tests.use_cases.journey import Arrival, ask_and_compare, travelled

pytestmark = pytest.mark.drill

NAME = "bike_share"
FIRST = load_use_case(NAME).history_start
#: A day has 24 rows at most, and the gate wants 200 of the test days, the last fifth: 50 closed days, and one more.
LAST = FIRST + timedelta(days=50)


@pytest.fixture(scope="module")
def arrival(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrival]:
    folder = tmp_path_factory.mktemp("journey")
    with travelled(
        NAME, folder, lambda name: list(feeder.day_files(name, FIRST, LAST)), feeder.reference_files, FIRST, LAST
    ) as arrival:
        yield arrival


def test_the_predictor_answers_with_what_was_trained(arrival: Arrival) -> None:
    ask_and_compare(arrival)
