"""Ports: one base, no two servers on one port, and a taken port is named with the setting that moves it."""

import socket
from pathlib import Path

import pytest

from local_stack import ports
from local_stack.faults import StackError
from local_stack.ports import OFFSETS, Ports, choose_base, parse_base, refuse_taken, remember_base


def test_no_two_servers_share_a_port() -> None:
    opened = Ports(21000).listening(OFFSETS)
    workers = Ports(21000).ray_workers
    assert len(set(OFFSETS.values())) == len(OFFSETS)
    assert not any(workers[0] <= port <= workers[1] for port in opened)


def test_two_bases_a_span_apart_do_not_meet() -> None:
    one, other = (set(Ports(base).listening(OFFSETS)) for base in (21000, 21000 + ports.SPAN))
    assert not one & other


def test_seaweed_ports_count_their_grpc_twin() -> None:
    assert 31010 in Ports(21000).listening(["s3"])


@pytest.mark.parametrize("text", ["", "abc", "80", "60000", "-1", "21000.5"])
def test_a_useless_base_is_refused_by_name(text: str) -> None:
    with pytest.raises(StackError, match="LAMBDA_DL_PORT_BASE"):
        parse_base(text)


def test_the_base_is_remembered_and_the_setting_wins(tmp_path: Path) -> None:
    memory = tmp_path / "port_base"
    assert choose_base(memory, {}) == ports.DEFAULT_BASE
    remember_base(memory, 22000)
    assert choose_base(memory, {}) == 22000
    assert choose_base(memory, {"LAMBDA_DL_PORT_BASE": "22400"}) == 22400


def test_a_taken_port_is_one_line_with_port_server_and_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        monkeypatch.setitem(OFFSETS, "kafka", port - 21000)
        with pytest.raises(StackError) as caught:
            refuse_taken(Ports(21000), ["kafka"])
    line = str(caught.value)
    assert str(port) in line
    assert "kafka" in line
    assert "LAMBDA_DL_PORT_BASE" in line
    assert "\n" not in line
