"""Figures to Markdown: one table a measurement, under what machine and versions they came from."""

import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from include.spark_jobs.stream import REALTIME_BATCH
from tests.bench.speed.http_path import CASES, HttpFigures
from tests.bench.speed.kafka_path import RATE, STEADY_SECONDS, KafkaFigures
from tests.bench.speed.load import Load
from tests.bench.speed.material import BATCH, Material
from tests.bench.speed.servers import FASTAPI, FLASK, OURS, Place
from tests.bench.speed.swap import SwapFigures

RIVAL_PACKAGES = ("flask", "gunicorn", "fastapi", "uvicorn", "onnxruntime", "bentoml", "litserve", "ray")
OUR_PACKAGES = ("uvicorn", "flask", "msgspec", "torch", "numpy", "pyspark", "confluent-kafka")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(place: Place, material: Material, onnx: str, seconds: float, rounds: int) -> str:
    """Where and with what the figures came about."""
    pinned = (
        f"servers (all their processes) on core {place.server_core}, load generator on core {place.load_core}"
        if place.server_core >= 0
        else "nothing is pinned to a core"
    )
    ours = ", ".join(f"{name} {version(name)}" for name in OUR_PACKAGES)
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {cpu_model()}, {os.cpu_count()} cores, "
        f"load average {' '.join(f'{load:.1f}' for load in os.getloadavg())} at the start",
        f"Python {platform.python_version()}; ours: {ours}",
        f"rivals: {rival_versions(place)}",
        f"{place.workers} worker process(es) each; {pinned}; HTTP cases of {seconds:g} s, {rounds} round(s), medians",
        f"one network at its default size with untrained weights; {material.tiles} tiles of 31 days in our memory; "
        "we compute the features of every row, the rivals get them ready-made; "
        "our answers over HTTP are not logged to Kafka here",
        f"ONNX against Torch: {onnx}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def cpu_model() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def rival_versions(place: Place) -> str:
    """What is installed in the rivals' environment."""
    code = (
        "import sys; from importlib.metadata import version as v; print(', '.join(f'{n} {v(n)}' for n in sys.argv[1:]))"
    )
    command = [place.binary("python"), "-c", code, *RIVAL_PACKAGES]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def middle(loads: Sequence[Load], name: str) -> float:
    """The median over rounds of one figure."""
    return float(median(getattr(load, name) for load in loads))


def http_table(figures: HttpFigures) -> str:
    """Requests a second and latencies of every server and case, beside FastAPI's and the naive Flask's."""
    servers = list(dict.fromkeys(server for server, _ in figures.loads))
    parts = []
    for case in CASES:
        there = [server for server in servers if (server, case.name) in figures.loads]
        rows = [_http_row(figures, server, case.name) for server in sorted(there, key=lambda name: name != OURS)]
        if case.name in figures.ceilings:
            ceiling = figures.ceilings[case.name]
            rows.append(["*generator against a server that does nothing*", *_figures(ceiling), "", "", ""])
        head = ["server", "requests/s", "p50 ms", "p99 ms", "× FastAPI", "× naive Flask", "p99 / FastAPI's p99"]
        parts.append(f"### {case.name}\n\n{table(head, rows)}")
    return "\n\n".join([*parts, batch_line(figures), *(f"Failed: {why}" for why in figures.failures)])


def _figures(loads: Sequence[Load]) -> list[str]:
    numbers = [middle(loads, name) for name in ("per_second", "p50_ms", "p99_ms")]
    return [f"{numbers[0]:.0f}", f"{numbers[1]:.2f}", f"{numbers[2]:.2f}"]


def _http_row(figures: HttpFigures, server: str, case: str) -> list[str]:
    loads = figures.loads[server, case]
    ratios = [("per_second", FASTAPI), ("per_second", FLASK), ("p99_ms", FASTAPI)]
    return [
        server,
        *_figures(loads),
        *(_ratio(loads, figures.loads.get((rival, case)), name) for name, rival in ratios),
    ]


def _ratio(loads: Sequence[Load], others: Sequence[Load] | None, name: str) -> str:
    return f"{middle(loads, name) / middle(others, name):.2f}" if others else "–"


def batch_line(figures: HttpFigures) -> str:
    """The share of ONNX Runtime's own rate that remains over HTTP."""
    case, inside = CASES[-1].name, median(figures.in_process)
    shares = [
        f"{server} {middle(loads, 'per_second') * BATCH:.0f} ({middle(loads, 'per_second') * BATCH / inside:.0%})"
        for (server, name), loads in figures.loads.items()
        if name == case
    ]
    return (
        f"Rows a second in requests of {BATCH}, and as a share of the {inside:.0f} that ONNX Runtime computes in "
        f"process (1 thread, same rows, same run): {'; '.join(shares)}."
    )


def swap_table(swaps: Sequence[SwapFigures]) -> str:
    """One line a swap."""
    rows = [
        (
            number,
            swap.load.requests,
            swap.load.failed,
            f"{swap.load_seconds * 1000:.0f}",
            f"{swap.steady_p99_ms:.2f}",
            f"{swap.around_p99_ms:.2f} ({swap.around_requests})",
            f"{swap.around_p99_ms / swap.steady_p99_ms:.2f}",
            f"{swap.loading_p99_ms:.2f}",
            f"{swap.load.max_ms:.1f}",
        )
        for number, swap in enumerate(swaps, 1)
    ]
    head = [
        "swap",
        "requests",
        "failed",
        "load, verify, warm ms",
        "steady p99 ms",
        "p99 in the second around (requests)",
    ]
    return table([*head, "ratio", "p99 while loading ms", "max ms"], rows)


def kafka_table(modes: Sequence[KafkaFigures]) -> str:
    """One line a mode, and the steps that were tried."""
    rows = [
        (
            figures.mode,
            f"{figures.steady.sent} in {figures.steady.seconds:.0f} s",
            figures.steady.answered,
            figures.steady.twice,
            f"{figures.steady.p50_ms:.1f}",
            f"{figures.steady.p99_ms:.1f}",
            f"{figures.steady.max_ms:.0f}",
            figures.highest_flat,
            "; ".join(f"{step.rate}: p99 {step.p99_ms:.0f} ms{step.verdict}" for step in figures.steps),
        )
        for figures in modes
    ]
    head = [
        "Spark",
        f"sent at {RATE}/s",
        "answered",
        "twice",
        "p50 ms",
        "p99 ms",
        "max ms",
        "highest flat rate/s",
        "steps",
    ]
    enough = modes[0].steady.seconds >= STEADY_SECONDS
    note = (
        f"Real-Time Mode writes a checkpoint every {REALTIME_BATCH}, for which queries wait: "
        f"{'one lies within the steady flow' if enough else 'the steady flow is too short to be sure of one'}. "
        "Guarantee in both modes: at least once to the service, which answers once by (id, prediction time) within its "
        "horizon. One partition; broker, Spark, service and sender share all cores. Latency counts from the time that "
        "a query was due to the time that its answer was read."
    )
    return f"{table(head, rows)}\n\n{note}"
