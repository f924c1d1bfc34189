"""Parcels on the real servers: from landing files to an answer of the predictor."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from include.use_case import load_use_case
from include.use_cases.template import feeder
from tests.use_cases.journey import Arrival, ask_and_compare, travelled

pytestmark = pytest.mark.drill

NAME = "template"
FIRST = load_use_case(NAME).history_start
#: Ten days to train, validate and test on, and one more so that their labels close.
LAST = FIRST + timedelta(days=12)


@pytest.fixture(scope="module")
def arrival(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrival]:
    folder = tmp_path_factory.mktemp("journey")
    with travelled(
        NAME, folder, lambda name: list(feeder.day_files(name, FIRST, LAST)), feeder.reference_files, FIRST, LAST
    ) as arrival:
        yield arrival


def test_the_predictor_answers_with_what_was_trained(arrival: Arrival) -> None:
    ask_and_compare(arrival)
