"""What a deployment may choose, read from its environment."""

import re
from pathlib import Path
from typing import Any

import pytest

from include.use_cases import chosen_use_case
from lambda_dl.cases import FIRST, Case, case_of
from lambda_dl.deployment import read_deployment
from local_stack.names import AIRFLOW_SETTINGS

ROOT = Path(__file__).parents[2]


def test_a_person_is_asked_only_where_a_deployment_says_so() -> None:
    assert not read_deployment({}).approval
    found = read_deployment({"LAMBDA_DL_APPROVAL": "1", "LAMBDA_DL_APPROVAL_LIMIT_SECONDS": "60"})
    assert (found.approval, found.approval_limit) == (True, 60.0)
    with pytest.raises(ValueError, match="LAMBDA_DL_APPROVAL has 'yes': write 0 or 1"):
        read_deployment({"LAMBDA_DL_APPROVAL": "yes"})


class Asked(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return default


def test_every_setting_is_told_and_reaches_airflow_where_the_stack_starts_it() -> None:
    asked = Asked()
    read_deployment(asked)
    told = set(re.findall(r"`([A-Z_]+)`", (ROOT / "docs" / "settings.md").read_text()))
    own = {"LAMBDA_DL_USE_CASES", "LAMBDA_DL_USE_CASE", "LAMBDA_DL_LAST_DAY"}  # the stack has an own value of these
    assert asked.names - own <= set(AIRFLOW_SETTINGS)
    for name in (asked.names | set(AIRFLOW_SETTINGS)) - {"LAMBDA_DL_USE_CASE", "AIRFLOW__API__EXPOSE_STACKTRACE"}:
        assert name.removeprefix("LAMBDA_DL_") in told, name


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, ("flight_delay",)),
        ({"LAMBDA_DL_USE_CASE": "fraud"}, ("fraud",)),
        ({"LAMBDA_DL_USE_CASES": "flight_delay, fraud"}, ("flight_delay", "fraud")),
        ({"LAMBDA_DL_USE_CASES": "fraud", "LAMBDA_DL_USE_CASE": "other"}, ("fraud",)),
    ],
)
def test_a_deployment_names_its_use_cases(environment: dict[str, str], names: tuple[str, ...]) -> None:
    found = read_deployment(environment)
    assert (found.use_cases, found.use_case) == (names, names[0])


def test_a_program_that_works_on_one_takes_the_named_one_or_the_first() -> None:
    both = {"LAMBDA_DL_USE_CASES": "flight_delay,fraud"}
    assert (chosen_use_case({}), chosen_use_case(both)) == ("flight_delay", "flight_delay")
    assert chosen_use_case({**both, "LAMBDA_DL_USE_CASE": "fraud"}) == "fraud"


def test_a_use_case_that_is_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="LAMBDA_DL_USE_CASES names a use case twice: a, b, a"):
        read_deployment({"LAMBDA_DL_USE_CASES": "a,b,a"})


def test_a_deadline_of_a_file_holds_for_every_use_case_unless_one_has_its_own() -> None:
    found = read_deployment({"LAMBDA_DL_DEADLINES": "refresh_serving=60,refresh_serving__fraud=90"})
    assert [found.deadline(f"refresh_serving{suffix}") for suffix in ("", "__fraud", "__other")] == [60, 90, 60]
    assert found.deadline("train_model__other") == found.deadline("train_model")


def test_whose_a_dag_is_follows_from_its_id() -> None:
    assert case_of("train_model") is FIRST
    assert Case("fraud", "__fraud").dag_id("train_model") == "train_model__fraud"
    with pytest.raises(ValueError, match="'train_model__nobody' is of no use case of this deployment"):
        case_of("train_model__nobody")
