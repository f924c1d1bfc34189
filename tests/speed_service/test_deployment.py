"""Deployed alone: what the service loads, and what it asks for."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = {"airflow", "pyspark", "ray", "pandas", "lightgbm", "sklearn", "scipy", "lambda_dl", "local_stack"}
CODE = "import sys, speed_service.app; print(' '.join(sorted({n.split('.')[0] for n in sys.modules})))"


def loaded() -> set[str]:
    """The top-level packages in memory once the service is imported, by a process of its own."""
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_loads_no_batch_package() -> None:
    assert not loaded() & FOREIGN


def test_starts_only_with_its_settings() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import speed_service.wsgi"], cwd=ROOT, capture_output=True, text=True, env={}
    )
    assert done.returncode != 0
    assert done.stderr.strip().splitlines() == [
        "speed_service cannot start: setting PREDICTOR_TOKEN is missing: "
        "source .local/stack.env or set it in the environment"
    ]


def test_requirements_are_pinned_and_hashed() -> None:
    asked = re.findall(r"^([a-z0-9-]+)", (ROOT / "speed_service/requirements.in").read_text(), re.MULTILINE)
    text = (ROOT / "speed_service/requirements.txt").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+).*\\\n    --hash=sha256:", text, re.MULTILINE))
    assert set(asked) <= pinned.keys()
    assert not re.search(r"https?://", text)
