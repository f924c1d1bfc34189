"""What starts with what, what stops before what, and how a fault reads."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from local_stack import supervision
from local_stack.control import (
    NotTriedError,
    all_servers,
    alone,
    choose,
    down,
    probe_fault,
    refuse_other_names,
    stop_waves,
    up,
    wait_healthy,
)
from local_stack.faults import StackError
from local_stack.ports import remember_base
from local_stack.process import last_words, run_step
from local_stack.servers.mysql import account_sql
from local_stack.servers.s3 import identities
from local_stack.servers.superset import definitions, refuse_uninstalled, superset_env
from local_stack.stack import Server, Stack, done_once
from local_stack.status import HEADINGS, Row, render
from local_stack.supervision import launch_path, render_conf, write_launcher


def names(servers: list[Server]) -> list[str]:
    return [server.name for server in servers]


def test_the_core_leaves_out_what_starts_on_demand(stack: Stack) -> None:
    chosen = names(choose(all_servers(stack), (), False))
    assert "hiveserver2" not in chosen
    assert "ray" not in chosen
    assert len(chosen) == 9


def test_all_but_some_leaves_out_those(stack: Stack) -> None:
    servers = all_servers(stack)
    chosen = names(choose(servers, (), True, ("superset", "superset-worker")))
    assert set(names(list(servers))) - set(chosen) == {"superset", "superset-worker"}
    with pytest.raises(StackError, match="no server is called mongo"):
        choose(servers, (), True, ("mongo",))


def test_superset_gets_the_analysts_way_into_the_stores_and_no_other_secret(stack: Stack) -> None:
    environment = superset_env(stack)
    allowed = ("mysql_analyst_password", "mysql_superset_password", "superset_secret_key", "superset_guest_secret")
    values = "\n".join(environment.values())
    assert not [n for n, v in stack.secrets.items() if n not in (*allowed, "kafka_cluster_id") and v in values]


def test_what_superset_shows_is_set_up_again_when_a_definition_changes(tmp_path: Path) -> None:
    seen = {definitions(tmp_path)}
    for folder in ("dashboard", "include/use_cases/mine"):
        (tmp_path / folder).mkdir(parents=True)
        for text in ("a", "b"):
            (tmp_path / folder / "page.py").write_text(text)
            assert definitions(tmp_path) not in seen
            seen.add(definitions(tmp_path))
    assert definitions(tmp_path) in seen


def test_a_named_server_brings_what_it_needs(stack: Stack) -> None:
    assert names(choose(all_servers(stack), ["hiveserver2"], False)) == ["s3", "mysql", "metastore", "hiveserver2"]


def test_a_second_start_does_not_run_beside_the_first(stack: Stack) -> None:
    with alone(stack), pytest.raises(StackError, match="another make up is at work"):
        up(stack, ["kafka"])
    with alone(stack):
        pass


def test_a_running_stack_keeps_its_ports_and_use_cases(stack: Stack) -> None:
    refuse_other_names(stack)
    with pytest.raises(StackError, match="this stack runs flight_delay: run make down first"):
        refuse_other_names(replace(stack, use_cases=("template",)))
    remember_base(stack.layout.state / "port_base", 20400)
    with pytest.raises(StackError, match="runs on ports from 20400 on: run make down first"):
        refuse_other_names(stack)


def test_what_a_killed_supervisor_leaves_is_stopped(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    server = Server("asleep", "nowhere", ("sleep", "600"), lambda: None)
    supervision.start_supervisor(stack, [server])
    supervision.start(stack, server)
    supervision.wait_for(lambda: supervision.process_states(stack)["asleep"][1] > 0, 30, "its start", stack)
    left = psutil.Process(supervision.process_states(stack)["asleep"][1])
    psutil.Process(int((stack.layout.run / "supervisord.pid").read_text())).kill()
    supervision.wait_for(lambda: not supervision.is_running(stack), 30, "the supervisor's end", stack)
    with pytest.raises(StackError, match="1 processes of this stack have lost their supervisor: run make down first"):
        up(stack, ["kafka"])
    down(stack)
    assert "left 1 processes, stopped" in capsys.readouterr().out
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE
    assert not supervision.abandoned(stack)


@pytest.mark.parametrize("whole", [False, True])
def test_a_start_ends_when_its_server_is_stopped_by_another(stack: Stack, whole: bool) -> None:
    asked = []

    def never() -> None:
        asked.append(1)
        raise OSError("no answer")

    server = Server("asleep", "nowhere", ("sleep", "600"), never)
    supervision.start_supervisor(stack, [server])
    try:
        supervision.start(stack, server)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(wait_healthy, stack, server)
            supervision.wait_for(lambda: len(asked) > 1, 30, "the second probe", stack)
            if whole:
                supervision.shut_down(stack)
            else:
                supervision.stop(stack, server.name)
            with pytest.raises(StackError, match="asleep was stopped while it was starting"):
                waiting.result(60)
    finally:
        if supervision.is_running(stack):
            supervision.shut_down(stack)


def test_an_unknown_server_is_refused_with_the_list(stack: Stack) -> None:
    with pytest.raises(StackError, match="no server is called mongo: choose from s3, kafka"):
        choose(all_servers(stack), ["mongo"], False)


def test_each_server_is_listed_after_what_it_needs(stack: Stack) -> None:
    seen: set[str] = set()
    for server in all_servers(stack):
        assert set(server.needs) <= seen
        seen.add(server.name)


def test_nothing_stops_before_what_uses_it(stack: Stack) -> None:
    waves = [names(wave) for wave in stop_waves(all_servers(stack))]
    order = {name: i for i, wave in enumerate(waves) for name in wave}
    assert len(order) == len(all_servers(stack))
    assert all(order[s.name] < order[n] for s in all_servers(stack) for n in s.needs)


def test_no_secret_in_commands_or_in_the_supervisors_file(stack: Stack) -> None:
    servers = all_servers(stack)
    visible = render_conf(stack, servers) + "".join(itertools.chain.from_iterable(s.command for s in servers))
    public = {"kafka_cluster_id"}
    assert not [name for name, value in stack.secrets.items() if name not in public and value in visible]


def test_launch_scripts_are_private(stack: Stack) -> None:
    server = all_servers(stack)[0]
    write_launcher(stack, server)
    assert launch_path(stack, server.name).stat().st_mode & 0o077 == 0


def test_analysts_read_and_hiveserver2_reads(stack: Stack) -> None:
    sql = account_sql(stack.secrets, stack.use_cases)
    assert "GRANT SELECT ON `flight_delay`.* TO analyst@" in sql
    assert sql.count("GRANT ALL ON `flight_delay`.*") == 1
    assert sql.count("TO superset@") == sql.count("GRANT ALL ON `superset`.* TO superset@") == 1
    hive = next(i for i in identities(dict(stack.secrets))["identities"] if i["name"] == "hive")
    assert hive["actions"] == ["Read:lake", "List:lake"]


def test_a_fault_is_one_line() -> None:
    assert str(StackError("two\nlines", "do  this")) == "two lines: do this"
    assert issubclass(NotTriedError, StackError)


def test_a_failed_step_names_its_log_and_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    with pytest.raises(StackError, match=r"doing it failed \(no such thing\): see .*step.log"):
        run_step("doing it", ("bash", "-c", "echo no such thing; exit 3"), log)
    assert last_words(tmp_path / "absent.log") == "no log"


def test_a_step_that_failed_is_done_again(tmp_path: Path) -> None:
    def fail() -> None:
        raise StackError("broken", "again")

    done: list[int] = []
    with pytest.raises(StackError):
        done_once(tmp_path / "stamp", "1", fail)
    for key in ("1", "1", "2"):
        done_once(tmp_path / "stamp", key, lambda: done.append(1))
    assert len(done) == 2


def test_any_fault_of_a_probe_means_not_yet() -> None:
    def refuse() -> None:
        raise ConnectionRefusedError("nobody there")

    assert probe_fault(Server("x", "a", (), refuse)) == "ConnectionRefusedError: nobody there"
    assert probe_fault(Server("x", "a", (), lambda: None)) is None


def test_a_long_state_path_gets_a_short_link_for_sockets(stack: Stack) -> None:
    short = stack.short_state()
    assert short.resolve() == stack.layout.state.resolve()
    assert len(f"{short}/data/ray/session_2026-11-29_03-00-16_249700_4194304/sockets/dash_TaskEventsHead") <= 107
    assert stack.short_state() == short


def test_the_status_table_shows_each_server_and_the_sum() -> None:
    row = Row("kafka", "127.0.0.1:21020", "running", 7, 1024, "ok")
    text = render([row, Row("ray", "http://x", "stopped", 0, 0, "on demand")])
    assert all(heading in text for heading in HEADINGS)
    assert "all together 1.0 GiB" in text
    assert not row.is_broken
    assert Row("kafka", "", "running", 7, 1, "ConnectionRefusedError").is_broken
    assert Row("kafka", "", "backoff", 0, 0, "ConnectionRefusedError").is_broken


def test_superset_without_its_environment_says_what_to_run(stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(StackError, match="make install-dashboards"):
        refuse_uninstalled(replace(stack.layout, repo=tmp_path))
