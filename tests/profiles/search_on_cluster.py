"""A small search as a job of a Ray cluster, its storage in S3.

``python -m tests.profiles.search_on_cluster BUCKET/PREFIX`` prints which process reported each part (``PART {...}``)
and what was found in the end (``FOUND {...}``).
"""

import hashlib
import json
import sys
from typing import Any

from include.settings import S3Settings
from include.training import tune
from include.training.progress import ProgressPrinter
from include.training.tune import SearchPlan, connect_ray, s3_filesystem, search
from tests.training.synthetic import days, material, rows

#: Enough for a trial of many seconds: it has to be at work when its node is killed.
ROWS_A_DAY = 30_000
#: One trial at a time: what the next one tries then follows from the seed alone.
PLAN = SearchPlan(trials=4, epochs=4, seed=5, max_concurrent=1)


class Told(ProgressPrinter):
    """Prints who has reported each part."""

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """One part of one trial is done."""
        super().on_trial_result(iteration, trials, trial, result)
        print("PART " + json.dumps({"part": result["part"], "pid": result["pid"]}), flush=True)


def main() -> None:
    """Search, and print the trials and a digest of the best one's weights."""
    tune.ProgressPrinter = Told  # type: ignore[attr-defined]
    connect_ray()
    data = rows(day_count=3, per_day=ROWS_A_DAY)
    known = material(data.between(*days(2)), data.between(days(3)[2], days(3)[2]))
    found = search(known, PLAN, sys.argv[1], s3_filesystem(S3Settings.from_environment()))
    digest = hashlib.sha256()
    for name, weights in sorted(found.loop.best_network().state_dict().items()):
        digest.update(name.encode() + weights.numpy().tobytes())
    trials = sorted((json.dumps(trial.config, sort_keys=True), trial.validation_loss) for trial in found.trials)
    print("FOUND " + json.dumps({"weights": digest.hexdigest(), "trials": trials}), flush=True)


if __name__ == "__main__":
    main()
