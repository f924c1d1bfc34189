"""What a check found, and how it reads: what is well, or what is wrong and what to do about it.

Knows no system. Texts hold addresses and names of settings, never a secret.
"""

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from include.settings import SettingError
from include.use_cases import USE_CASE, environment_of, read_use_cases

REACH_SECONDS = 5.0
HTTP_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Finding:
    """Something that is well, or (with ``do``) that is wrong."""

    what: str
    do: str = ""

    @property
    def is_well(self) -> bool:
        """Nobody has to do anything."""
        return not self.do


class Trouble(Exception):
    """Something is so wrong that the rest of this system's check makes no sense."""

    def __init__(self, what: str, do: str) -> None:
        super().__init__(f"{what}: {do}")
        self.finding = Finding(_one_line(what), _one_line(do))


Check = Callable[[Mapping[str, str]], Iterator[Finding]]


def examined(check: Check, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Everything that a check finds; whatever it stumbles over is a finding too."""
    try:
        yield from check(environment)
    except Trouble as trouble:
        yield trouble.finding
    except SettingError as error:
        what, _, do = str(error).partition(": ")
        yield Finding(what, do or "correct it")
    except Exception as error:  # client libraries fail in ways that no list names
        said = _one_line(f"{type(error).__name__}: {error}")[:300]
        yield Finding(f"the check broke off with {said}", "these are the words of the system's client library")


def of_each_use_case(check: Check) -> Check:
    """The check with each use case's own settings: of ``LAMBDA_DL_USE_CASE`` alone where that is set, else of all.

    What is found a second time is not told again.
    """

    def checked(environment: Mapping[str, str]) -> Iterator[Finding]:
        one = environment.get(USE_CASE)
        told: set[Finding] = set()
        for name in (one,) if one else read_use_cases(environment):
            for finding in examined(check, environment_of(environment, name)):
                if finding not in told:
                    yield finding
                told.add(finding)

    return checked


def rendered(name: str, findings: Iterable[Finding]) -> Iterator[str]:
    """Lines for a terminal or a task log; the system's name stands before its first one."""
    for number, finding in enumerate(findings):
        mark = "ok   " if finding.is_well else "WRONG"
        yield f"{name if not number else '':12s} {mark}  {finding.what}"
        if not finding.is_well:
            yield f"{'':12s}        -> {finding.do}"


def reach(host: str, port: int, do: str) -> None:
    """Open and close a connection; raises ``Trouble`` that says why there is none."""
    try:
        socket.create_connection((host, port), REACH_SECONDS).close()
    except socket.gaierror:
        raise Trouble(f"no machine is called {host}", do) from None
    except TimeoutError:
        raise Trouble(f"{host}:{port} does not answer within {REACH_SECONDS:.0f} s (a firewall?)", do) from None
    except OSError as error:
        raise Trouble(f"nobody listens at {host}:{port} ({error.strerror or error})", do) from None


def reach_url(url: str, do: str) -> None:
    """``reach`` for an address with a scheme."""
    host, port = host_and_port(url, do)
    reach(host, port, do)


def host_and_port(url: str, do: str) -> tuple[str, int]:
    """Where a URL leads; raises ``Trouble`` if it leads nowhere."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or HTTP_PORTS.get(parts.scheme)
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise Trouble(f"{url!r} is no address with scheme, host and port", do)
    return host, port


def _one_line(text: str) -> str:
    return " ".join(text.split())
