"""Reads docker-compose.yml as Compose does: merges, and variables by the rules of its specification."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Missing(Exception):
    """A variable that the file requires is not set."""


def loaded() -> dict[str, Any]:
    """The file with its anchors and merges resolved, variables as they stand."""
    return dict(yaml.safe_load(FILE.read_text()))


def texts(part: Any) -> Iterator[str]:
    """Every text in it, keys left out."""
    if isinstance(part, Mapping):
        for value in part.values():
            yield from texts(value)
    elif isinstance(part, list):
        for value in part:
            yield from texts(value)
    elif isinstance(part, str):
        yield part


def expressions(text: str) -> Iterator[tuple[str, str, str]]:
    """Every ``${NAME}`` with its operator (``:-``, ``:?`` or none) and the word behind it, inner ones too."""
    at = 0
    while (start := text.find("$", at)) >= 0:
        if text[start : start + 2] == "$$":
            at = start + 2
            continue
        end = closing(text, start)
        name = NAME.match(text, start + 2)
        assert name, f"not the form that this project uses: {text[start : start + 30]}"
        rest = text[name.end() : end]
        yield name.group(), rest[:2], rest[2:]
        yield from expressions(rest[2:])
        at = end + 1


def closing(text: str, start: int) -> int:
    """Where the brace that opens behind the dollar at ``start`` is closed."""
    assert text[start : start + 2] == "${", text[start : start + 30]
    depth = 0
    for at in range(start + 1, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return at
    raise AssertionError(f"no brace closes {text[start:]}")


def interpolated(part: Any, values: Mapping[str, str]) -> Any:
    """The part with every variable replaced; raises ``Missing`` for one that is required and not set."""
    if isinstance(part, Mapping):
        return {key: interpolated(value, values) for key, value in part.items()}
    if isinstance(part, list):
        return [interpolated(value, values) for value in part]
    return _text(part, values) if isinstance(part, str) else part


def _text(text: str, values: Mapping[str, str]) -> str:
    done, at = "", 0
    while (start := text.find("$", at)) >= 0:
        done += text[at:start]
        if text[start : start + 2] == "$$":
            done, at = f"{done}$", start + 2
            continue
        end = closing(text, start)
        name, operator, word = next(expressions(text[start : end + 1]))
        if not values.get(name) and operator != ":-":
            raise Missing(f"{name}: {word}")
        done += values.get(name) or _text(word, values)
        at = end + 1
    return done + text[at:]
