"""Requests a second and latencies over HTTP: every server in turn, in rounds whose order rotates.

One server is up at a time, so that none pays for another's idling. What is compared is medians over the rounds.
"""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from local_stack.layout import REPO_ROOT
from tests.bench.speed.load import Load, Plan
from tests.bench.speed.material import BATCH, Material, our_body, rival_body
from tests.bench.speed.servers import RIVALS, Place, Server, pinned, plain_environment, running

CONCURRENCIES = (1, 16, 64)
ONE_ROW_BODIES = 500
TRIVIAL_PORT = 9


@dataclass(frozen=True)
class Case:
    """One kind of request at one concurrency."""

    name: str
    rows: int
    concurrency: int


CASES = (*(Case(f"1 row, concurrency {n}", 1, n) for n in CONCURRENCIES), Case(f"{BATCH} rows", BATCH, 1))
Results = dict[tuple[str, str], list[Load]]


@dataclass(frozen=True)
class HttpFigures:
    """Loads by (server, case); the generator's ceiling by case; rows a second in process, two a round; what broke."""

    loads: Results
    ceilings: dict[str, list[Load]]
    in_process: list[float]
    failures: list[str] = field(default_factory=list)


def write_bodies(material: Material) -> None:
    """Request bodies and the probabilities that their answers must have, one file a form and number of rows."""
    expected = material.probabilities.tolist()
    for rows, count in ((1, ONE_ROW_BODIES), (BATCH, 1)):
        parts = [slice(number * rows, (number + 1) * rows) for number in range(count)]
        wanted = [expected[part] for part in parts]
        ours = [our_body(material.subjects[part]).decode() for part in parts]
        rivals = [rival_body(material.rows, part).decode() for part in parts]
        for form, bodies in (("ours", ours), ("rival", rivals)):
            document = {"bodies": bodies, "expected": wanted}
            bodies_file(material.folder, form == "ours", rows).write_text(json.dumps(document))


def bodies_file(folder: Path, ours: bool, rows: int) -> Path:
    """Where the bodies of one form lie."""
    return folder / f"bodies_{'ours' if ours else 'rival'}_{rows}.json"


def first_body(material: Material, server: Server) -> bytes:
    """A request with which to see whether a server answers."""
    document = json.loads(bodies_file(material.folder, server.ours, 1).read_text())
    return str(document["bodies"][0]).encode()


def plan_for(place: Place, material: Material, server: Server, case: Case, seconds: float) -> Plan:
    """The load of one case on one server."""
    return Plan(
        port=server.port,
        path=server.path,
        bodies=str(bodies_file(material.folder, server.ours, case.rows)),
        concurrency=case.concurrency,
        seconds=seconds,
        warm_seconds=min(1.0, seconds),
        headers=dict(server.headers),
        core=place.load_core,
    )


def run_load(plan: Plan) -> Load:
    """Run the generator in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.speed.load"]
    ran = subprocess.run(command, input=json.dumps(asdict(plan)), stdout=subprocess.PIPE, text=True, cwd=REPO_ROOT)
    if ran.returncode:
        raise RuntimeError("the load generator ended with an error; see above")
    return Load(**json.loads(ran.stdout))


def measure_http(
    place: Place, material: Material, servers: Sequence[Server], seconds: float, rounds: int
) -> HttpFigures:
    """All servers, all cases, ``rounds`` times; the order of servers rotates by one each round."""
    figures = HttpFigures(defaultdict(list), defaultdict(list), [])
    for number in range(rounds):
        shift = number % len(servers)
        figures.in_process.append(rows_per_second_in_process(place, material, seconds))
        for server in (*servers[shift:], *servers[:shift]):
            try:
                measure_server(place, material, server, seconds, figures.loads)
            except RuntimeError as error:  # a rival that breaks is told; the others' figures stand
                if server.ours:
                    raise
                figures.failures.append(f"round {number + 1}, {server.name}: {str(error)[:500]}")
                print(f"  {error}", flush=True)
        measure_ceiling(place, material, servers[0], seconds, figures.ceilings)
        figures.in_process.append(rows_per_second_in_process(place, material, seconds))
        print(f"round {number + 1} of {rounds} done", flush=True)
    return figures


def measure_server(place: Place, material: Material, server: Server, seconds: float, loads: Results) -> None:
    """Start it, run every case, stop it."""
    with running(place, server, first_body(material, server)):
        for case in CASES:
            load = run_load(plan_for(place, material, server, case, seconds))
            check(server, case, load)
            loads[server.name, case.name].append(load)
            print(f"  {server.name}, {case.name}: {load.per_second:.0f}/s, p99 {load.p99_ms:.1f} ms", flush=True)


def check(server: Server, case: Case, load: Load) -> None:
    """A fast wrong answer is none."""
    if load.failed or load.wrong or not load.checked:
        raise RuntimeError(
            f"{server.name}, {case.name}: {load.failed} of {load.requests} requests failed, "
            f"{load.wrong} of {load.checked} answers are wrong. {load.first_failure}"
        )


def measure_ceiling(
    place: Place, material: Material, server: Server, seconds: float, ceilings: dict[str, list[Load]]
) -> None:
    """What the generator reaches when the server does nothing."""
    port = place.base + TRIVIAL_PORT
    command = [sys.executable, str(Path(__file__).parent / "trivial.py"), str(port)]
    trivial = Server("trivial", tuple(command), "/", port, headers=server.headers, ours=server.ours)
    with running(place, trivial, first_body(material, server)):
        for case in (case for case in CASES if case.rows == 1):
            plan = replace(plan_for(place, material, trivial, case, seconds), path=server.path)
            load = run_load(plan)
            if load.failed:
                raise RuntimeError(f"the trivial server failed: {load.first_failure}")
            ceilings[case.name].append(load)


def rows_per_second_in_process(place: Place, material: Material, seconds: float) -> float:
    """ONNX Runtime on the same rows without any server."""
    files = [str(material.onnx), str(material.folder / "rows.npz"), str(BATCH), str(seconds)]
    command = [place.binary("python"), str(RIVALS / "in_process.py"), *files]
    ran = subprocess.run(
        command,
        env=plain_environment(),
        preexec_fn=pinned(place.server_core),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(ran.stdout)
