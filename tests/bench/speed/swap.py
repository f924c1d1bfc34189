"""A model swap under load: failed requests, and latencies around it beside the steady ones.

Concurrency 16 for a while; in the middle the service is told to load, warm and swap in another bundle, as after a
promotion. The second around the swap is the one centred on it; loading lies before it and is told apart.
"""

import json
import os
import threading
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.speed.http_path import Case, first_body, plan_for, run_load
from tests.bench.speed.load import Load, quantile
from tests.bench.speed.material import Material
from tests.bench.speed.servers import Place, Server, ask, running

CONCURRENCY = 16
AROUND_SECONDS = 1.0


@dataclass(frozen=True)
class SwapFigures:
    """One swap: loads as a whole, p99 in milliseconds of the steady time, around the swap, and from load to swap."""

    load: Load
    load_seconds: float
    steady_p99_ms: float
    around_p99_ms: float
    loading_p99_ms: float
    around_requests: int


def measure_swaps(place: Place, material: Material, server: Server, seconds: float, rounds: int) -> list[SwapFigures]:
    """``rounds`` swaps, each in a service of its own."""
    return [measure_swap(place, material, server, max(4.0, 2 * seconds)) for _ in range(rounds)]


def measure_swap(place: Place, material: Material, server: Server, seconds: float) -> SwapFigures:
    """Load for ``seconds``, swap in the middle; raises if the second model does not answer afterwards."""
    series, told = material.folder / "swap.series", material.folder / "swapped.json"
    told.unlink(missing_ok=True)
    case = Case("swap", 1, CONCURRENCY)
    plan = replace(plan_for(place, material, server, case, seconds), series=str(series))
    body = first_body(material, server)
    with running(place, server, body):
        timer = threading.Timer(plan.warm_seconds + seconds / 2, write_pipe, (material, material.model_ids[1]))
        timer.start()
        load = run_load(plan)
        timer.join()
        swap = wait_for(told)
        served = json.loads(ask(server, body))["model_id"]
    if served != material.model_ids[1]:
        raise RuntimeError(f"the service still answers with {served}")
    return figures(load, read_series(series), swap["started"], swap["swapped"])


def write_pipe(material: Material, model_id: str) -> None:
    """Tell the service; it waits for this at the other end of the pipe."""
    descriptor = os.open(material.folder / "swap.pipe", os.O_WRONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "w") as pipe:
        pipe.write(model_id)


def wait_for(path: Path, seconds: float = 10.0) -> dict[str, float]:
    """What the service says once it has swapped."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists():
            found: dict[str, float] = json.loads(path.read_text())
            return found
        time.sleep(0.05)
    raise RuntimeError("the service has not swapped; see its log")


def read_series(path: Path) -> list[tuple[float, float]]:
    """(time of the answer, latency), seconds."""
    values = array("d")
    values.frombytes(path.read_bytes())
    return list(zip(values[::2], values[1::2], strict=True))


def figures(load: Load, series: Sequence[tuple[float, float]], started: float, swapped: float) -> SwapFigures:
    """Sort the answers into the steady time (before loading began), the loading, and the second around the swap."""
    if not series[0][0] < started < swapped < series[-1][0]:
        raise RuntimeError("the swap did not happen under load")
    half = AROUND_SECONDS / 2
    steady = [latency for end, latency in series if end < min(started, swapped - half)]
    around = [latency for end, latency in series if swapped - half <= end <= swapped + half]
    loading = [latency for end, latency in series if started <= end <= swapped]
    calm, near, during = (quantile(sorted(part), 0.99) * 1000 for part in (steady, around, loading))
    return SwapFigures(load, swapped - started, calm, near, during, len(around))
