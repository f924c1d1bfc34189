"""A stack with two use cases: the first keeps every name, the second has servers, databases and topics of its own."""

from dataclasses import replace
from pathlib import Path

import pytest

from include.use_cases import USE_CASES
from local_stack.control import all_servers, down, up
from local_stack.environment import process_env, stack_env
from local_stack.faults import StackError
from local_stack.layout import REPO_ROOT, Layout
from local_stack.ports import FURTHER, OFFSETS, Ports
from local_stack.servers import kafka
from local_stack.servers.airflow import airflow_env
from local_stack.servers.mysql import account_sql
from local_stack.servers.superset import superset_env
from local_stack.stack import Stack, choose_use_cases, open_stack

FIRST, SECOND = "flight_delay", "template"


@pytest.fixture
def both(stack: Stack) -> Stack:
    """The stack with a second use case."""
    return replace(stack, ports=replace(stack.ports, further=(f"predictor-{SECOND}",)), use_cases=(FIRST, SECOND))


def test_use_cases_are_asked_for_then_remembered(tmp_path: Path) -> None:
    assert choose_use_cases(tmp_path, {}) == (FIRST,)
    (tmp_path / "use_cases").write_text(f"{FIRST},{SECOND}\n")
    assert choose_use_cases(tmp_path, {}) == (FIRST, SECOND)
    assert choose_use_cases(tmp_path, {"LAMBDA_DL_USE_CASES": SECOND}) == (SECOND,)


def test_use_cases_that_cannot_be_are_refused(tmp_path: Path, stack: Stack) -> None:
    with pytest.raises(StackError, match="twice"):
        choose_use_cases(tmp_path, {"LAMBDA_DL_USE_CASES": f"{FIRST},{FIRST}"})
    with pytest.raises(StackError, match="'nobody', which .* names, is no package"):
        up(replace(stack, use_cases=(FIRST, "nobody")))


def test_a_stack_whose_use_case_is_gone_can_still_be_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "use_cases").write_text("nobody\n")
    down(open_stack(Layout(REPO_ROOT, tmp_path)))
    assert "nothing is running" in capsys.readouterr().out


def test_each_use_cases_stream_has_its_own_checkpoints_in_any_order(both: Stack) -> None:
    ports = replace(both.ports, further=(f"predictor-{FIRST}",))
    other = replace(both, ports=ports, use_cases=(SECOND, FIRST))

    def folders(stack: Stack) -> dict[str, str]:
        streams = [server for server in all_servers(stack) if server.name.startswith("stream")]
        return {server.command[-1]: server.env["LAMBDA_DL_CHECKPOINTS"] for server in streams}

    assert folders(both) == folders(other)
    assert len(set(folders(both).values())) == 2


def test_the_second_has_servers_of_its_own(both: Stack, stack: Stack) -> None:
    one, two = ({server.name: server for server in all_servers(each)} for each in (stack, both))
    assert two.keys() - one.keys() == {f"predictor-{SECOND}", f"stream-{SECOND}"}
    for name, setting in (("predictor", "LAMBDA_DL_USE_CASE"), ("stream", "LAMBDA_DL_CHECKPOINTS")):
        assert two[name].env[setting] == one[name].env[setting]
        assert SECOND in two[f"{name}-{SECOND}"].env[setting]
    assert two[f"stream-{SECOND}"].command[-1] == SECOND
    assert two["predictor"].address == one["predictor"].address != two[f"predictor-{SECOND}"].address


def test_where_an_own_one_comes_first_its_nights_do_not_end_with_the_shipped_facts(stack: Stack) -> None:
    assert airflow_env(replace(stack, use_cases=(SECOND,)))["LAMBDA_DL_LAST_DAY"] == ""


def test_its_ports_are_nobody_elses() -> None:
    most = FURTHER[1] - FURTHER[0] + 1
    ports = Ports(21000, tuple(f"predictor-case_{number}" for number in range(most)))
    opened = ports.listening([*OFFSETS, *ports.further])
    assert len([port for port in opened if port < 30000]) == len(OFFSETS) + most
    assert not set(opened) & set(range(*ports.ray_workers))
    with pytest.raises(StackError, match="more servers need ports"):
        Ports(21000, tuple("x" * (most + 1)))


def test_clients_find_both_and_the_first_where_it_was(both: Stack, stack: Stack) -> None:
    names = set(stack_env(both)) - set(stack_env(stack))
    assert names == {f"PREDICTOR_URL_{SECOND.upper()}"}
    assert {name for name, value in stack_env(stack).items() if stack_env(both)[name] != value} == {USE_CASES}
    for environment in (stack_env(both), process_env(both), superset_env(both)):
        assert environment[USE_CASES] == f"{FIRST},{SECOND}"


def test_it_has_a_database_and_topics_of_its_own(both: Stack) -> None:
    sql = account_sql(both.secrets, both.use_cases)
    for name in (FIRST, SECOND):
        assert f"CREATE DATABASE IF NOT EXISTS `{name}` " in sql
        assert f"GRANT SELECT ON `{name}`.* TO analyst@" in sql and f"GRANT ALL ON `{name}`.* TO lambda_batch@" in sql
    topics = {topic.name for topic in kafka.topics(both)}
    assert {f"{FIRST}.weather", f"{FIRST}.models", f"{SECOND}.orders", f"{SECOND}.models"} <= topics
    assert len(topics) == 13 + 11
