"""`python3 -m local_stack.compose_env`: write the `.env` of docker-compose.yml, a random secret for each name.

A file that is there keeps every value; names that it lacks are added. Standard library only: it runs on a host that has
Docker and a bare Python. Knows names, and nothing about who uses which.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from local_stack import secret_store
from local_stack.faults import StackError, in_words

DEFAULT_FILE = Path(__file__).resolve().parent.parent / ".env"
#: What the embedded stack does without.
OWN_NAMES = ("postgres_password",)
HEAD = """# Secrets of docker-compose.yml, made by `python3 -m local_stack.compose_env`. Never commit this file.
# The data are bound to its values: keep a copy where you keep other secrets. docs/deployment.md has what may be added.
"""


def names() -> tuple[str, ...]:
    """Every variable that the file has to set."""
    return tuple(name.upper() for name in (*secret_store.ALL_NAMES, *OWN_NAMES))


def given(text: str) -> dict[str, str]:
    """The variables that an env file sets; one without a value is not set."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs if value.strip()}


def completed(text: str) -> tuple[str, list[str]]:
    """The file's text with a secret for each name that it lacks, and those names."""
    missing = [name for name in names() if name not in given(text)]
    lines = "".join(f"{name}={secret_store.generate(name.lower())}\n" for name in missing)
    start = text if text.endswith("\n") or not text else f"{text}\n"
    return (start or HEAD) + lines, missing


def write(path: Path) -> list[str]:
    """Make or complete the file, readable for its owner alone; returns the names that were added."""
    text, missing = completed(path.read_text() if path.is_file() else "")
    secret_store.write_private(path, text)
    return missing


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="local_stack.compose_env", description=__doc__)
    parser.add_argument("--file", type=Path, default=DEFAULT_FILE, help="default: .env beside docker-compose.yml")
    path = parser.parse_args(arguments).file
    try:
        added = write(path)
    except (OSError, StackError) as fault:
        print(f"lambda-dl: {in_words(fault)}", file=sys.stderr)
        return 1
    print(f"{path}: {len(added)} secrets added, every other line kept")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
