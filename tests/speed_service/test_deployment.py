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


def pinned(path: str) -> dict[str, str]:
    text = (ROOT / path).read_text()
    assert not re.search(r"https?://", text)
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+).*\\\n    --hash=sha256:", text, re.MULTILINE))


def test_requirements_are_pinned_and_hashed_at_the_versions_that_models_are_trained_with() -> None:
    asked = re.findall(r"^([a-z0-9-]+)", (ROOT / "speed_service/requirements.in").read_text(), re.MULTILINE)
    service = pinned("speed_service/requirements.txt")
    assert set(asked) <= service.keys()
    assert service.items() <= pinned("requirements.txt").items()
