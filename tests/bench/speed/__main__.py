"""Measures the speed layer and writes what it found: ``make bench-speed``. See the package."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from include.use_case import load_use_case
from local_stack.layout import REPO_ROOT
from tests.bench.speed import report
from tests.bench.speed.http_path import measure_http, write_bodies
from tests.bench.speed.kafka_path import STEADY_SECONDS, measure_kafka
from tests.bench.speed.material import make_material
from tests.bench.speed.servers import Place, export_onnx, make_rivals_environment, our_server, rival_servers
from tests.bench.speed.swap import measure_swaps

PARTS = ("http", "swap", "kafka")
FOLDER = REPO_ROOT / ".local" / "bench-speed"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.speed", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one case of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steady", type=float, default=STEADY_SECONDS, help="seconds of the steady flow through Kafka")
    parser.add_argument("--workers", type=int, default=1, help="worker processes of every server, ours included")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {','.join(PARTS)}")
    parser.add_argument("--base", type=int, default=22600, help="the first of ten ports")
    parser.add_argument("--out", type=Path, default=FOLDER / "report.md")
    options = parser.parse_args(argv)
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}")
    if "kafka" in options.only and not os.environ.get("KAFKA_BOOTSTRAP"):
        parser.error("kafka needs a running stack: make up, then `. .local/conf/process.env`; or --only http,swap")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    options = parse(argv)
    cores = (0, 1) if (os.cpu_count() or 1) > 1 else (-1, -1)
    place = Place(FOLDER, options.base, options.workers, *cores)
    use_case = load_use_case("flight_delay", {})
    folder = FOLDER / "material"
    folder.mkdir(parents=True, exist_ok=True)
    make_rivals_environment(place)
    material = make_material(use_case, folder)
    write_bodies(material)
    onnx = export_onnx(place, material)
    parts = ["# The speed layer, measured", report.machine(place, material, onnx, options.seconds, options.rounds)]
    ours = our_server(place, material, use_case.name)

    def http() -> str:
        servers = [ours, *rival_servers(place, material)]
        figures = measure_http(place, material, servers, options.seconds, options.rounds)
        return f"## Over HTTP\n\n{report.http_table(figures)}"

    def swap() -> str:
        one = replace(place, workers=1)  # each worker swaps for itself; only one of them would read the pipe
        swaps = measure_swaps(one, material, our_server(one, material, use_case.name), options.seconds, options.rounds)
        return f"## Model swap at concurrency 16\n\n{report.swap_table(swaps)}"

    def kafka() -> str:
        modes = measure_kafka(place, material, use_case, options.seconds, options.steady)
        return f"## Kafka to Kafka\n\n{report.kafka_table(modes)}"

    try:
        for measure in (http, swap, kafka):
            if measure.__name__ in options.only:
                parts.append(measure())
    finally:  # what was measured before something broke is kept
        parts.append(f"Load average at the end: {' '.join(f'{load:.1f}' for load in os.getloadavg())}.")
        text = "\n\n".join(parts) + "\n"
        options.out.write_text(text)
        print(f"\n{text}\nwritten to {options.out}")


if __name__ == "__main__":
    main()
