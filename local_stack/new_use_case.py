"""`python -m local_stack.new_use_case NAME`: a use case to begin with, copied from the one that is kept for that.

`include/use_cases/template` is a whole use case, checked and tested like any other; its copy has another name and works
at once, on generated facts. Knows files and names: not what is in them. Needs nothing but Python.
"""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path

from local_stack import names
from local_stack.faults import StackError
from local_stack.layout import REPO_ROOT

TEMPLATE = "template"
PACKAGES = Path("include/use_cases")
TESTS = Path("tests/use_cases")
#: MySQL's limit is 64 characters, and tables, tests and topics add some of their own.
LONGEST = 40
FORM = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
#: Databases that MySQL, Hive and the stack have already: a use case has one of its own name in both.
TAKEN = frozenset(
    {
        *("mysql", "sys", "performance_schema", "information_schema", "default"),
        *(names.METASTORE_DATABASE, names.SUPERSET_DATABASE),
    }
)
NEXT = """made {made}

Read docs/use-cases.md on, and change {package}/contracts.py first. What is there works: try it with
  .local/venv/bin/python -m pytest {test}
"""


def why_refused(name: str, root: Path) -> str:
    """What is wrong with a name; empty if it will do."""
    if not FORM.fullmatch(name) or keyword.iskeyword(name):
        return "is no name: use small letters, digits and single underscores, a letter first (and no word of Python)"
    if len(name) > LONGEST:
        return f"has {len(name)} characters: use at most {LONGEST}"
    if name in TAKEN:
        return "is a database that others have: choose another name"
    for path in (root / PACKAGES / name, *(root / TESTS / test for test in names_of_tests(name))):
        if path.exists():
            return f"is there already: {path.relative_to(root)}"
    return ""


def names_of_tests(name: str) -> tuple[str, str]:
    """The files with a use case's tests: quick ones, and the drill on the servers."""
    return f"test_{name}.py", f"test_{name}_on_servers.py"


def renamed(text: str, name: str) -> str:
    """The text of the template with the name in place of the template's own, wherever that is a word or part of one."""
    return text.replace(TEMPLATE, name)


def make(name: str, root: Path = REPO_ROOT) -> list[Path]:
    """Write the package and its tests; returns the files. Raises ``StackError`` if the name will not do."""
    if why := why_refused(name, root):
        raise StackError(f"NAME={name!r} {why}", "make use-case NAME=card_fraud, for example")
    sources = sorted((root / PACKAGES / TEMPLATE).glob("*.py"))
    copies = {root / PACKAGES / name / path.name: path for path in sources}
    tests = zip(names_of_tests(name), names_of_tests(TEMPLATE), strict=True)
    copies |= {root / TESTS / new: root / TESTS / old for new, old in tests}
    texts = {path: renamed(source.read_text(), name) for path, source in copies.items()}
    (root / PACKAGES / name).mkdir()
    for path, text in texts.items():
        path.write_text(text)
    return list(texts)


def main(arguments: list[str] | None = None) -> int:
    """The command: 1 and a line of why if nothing was made."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        made = make(given[0] if given else "")
    except StackError as fault:
        print(f"lambda-dl: {fault}", file=sys.stderr)
        return 1
    package, test = made[0].parent.relative_to(REPO_ROOT), made[-2].relative_to(REPO_ROOT)
    listed = "\n     ".join(str(path.relative_to(REPO_ROOT)) for path in made)
    print(NEXT.format(made=listed, package=package, test=test))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
