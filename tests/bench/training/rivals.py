"""The rivals in deep learning on tables: starts one in its own environment, and says when it was as good as a figure.

``pytabkit_rival.py`` trains, in the environment of ``rivals.txt``. It does not know what our network reached.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from local_stack.layout import REPO_ROOT
from tests.bench.environment import make_environment

HERE = Path(__file__).parent
ENVIRONMENT = REPO_ROOT / ".local" / "bench-training" / "rivals"
#: The rival's own clock stands still while it predicts the test days, so it is killed only well after the limit.
GRACE_SHARE, GRACE_SECONDS = 0.5, 120.0


@dataclass(frozen=True)
class Point:
    """A rival after an epoch: seconds of training, and what its probabilities were worth."""

    seconds: float
    validation_auc: float
    validation_log_loss: float
    test_auc: float
    test_log_loss: float


@dataclass(frozen=True)
class RivalCurve:
    """One training; the last point of a finished one is the model that it kept."""

    method: str
    version: str
    seed: int
    threads: int
    fit_seconds: float
    finished: bool
    epochs: int
    curve: tuple[Point, ...]

    @classmethod
    def from_file(cls, path: Path) -> "RivalCurve":
        """What ``pytabkit_rival.py`` wrote."""
        document = json.loads(path.read_text())
        document["curve"] = tuple(Point(*point) for point in document["curve"])
        return cls(**document)


def rivals_python() -> Path:
    """The Python of the rivals' environment, which is made when it is not there."""
    return make_environment(ENVIRONMENT, HERE / "rivals.txt")


def run_rival(python: Path, data: Path, method: str, seed: int, threads: int, limit_s: float, out: Path) -> RivalCurve:
    """Train until the method is done or ``limit_s`` is over; raises with the end of its log when it fails.

    A rival that has to be killed counts with what it wrote; one that wrote nothing has an empty curve.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    options = {"data": data, "method": method, "seed": seed, "threads": threads, "limit-s": limit_s, "out": out}
    command = [str(python), str(HERE / "pytabkit_rival.py")]
    command += [text for name, value in options.items() for text in (f"--{name}", str(value))]
    log = out.with_suffix(".log")
    with log.open("wb") as output:
        try:
            ran = subprocess.run(
                command,
                env=environment(threads),
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=limit_s * (1 + GRACE_SHARE) + GRACE_SECONDS,
            )
        except subprocess.TimeoutExpired:
            ran = None
    if ran is not None and ran.returncode != 0:
        raise RuntimeError(f"{method} failed with {ran.returncode}:\n{log.read_text()[-3000:]}")
    if not out.exists():
        return RivalCurve(method, "", seed, threads, limit_s, finished=False, epochs=0, curve=())
    return RivalCurve.from_file(out)


def environment(threads: int) -> dict[str, str]:
    """The plain environment with as many threads in every library, and no GPU to be found."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    return kept | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}


def seconds_to(curve: RivalCurve, auc: float, log_loss: float) -> float | None:
    """When the epoch that validation log-loss had chosen so far first was as good on the test days; None if never."""
    best = float("inf")
    for point in curve.curve:
        if point.validation_log_loss < best:
            best = point.validation_log_loss
            if point.test_auc >= auc and point.test_log_loss <= log_loss:
                return point.seconds
    return None
