"""The use case's upstream systems, played by its feeder: day files into the landing bucket. It knows no domain."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import date

from include.use_case import UseCase


def land_days(use_case: UseCase, environment: Mapping[str, str], first: date, last: date, *options: str) -> None:
    """Land the days ``first`` to ``last``; what lies there already stays. ``options`` go to the feeder as they are.

    Raises ``subprocess.CalledProcessError`` when the feeder fails; it says on standard error why.
    """
    command = [sys.executable, "-m", f"include.use_cases.{use_case.name}.feeder"]
    span = ["--from", first.isoformat(), "--to", last.isoformat()]
    subprocess.run([*command, *span, *options], check=True, env={**os.environ, **environment})
