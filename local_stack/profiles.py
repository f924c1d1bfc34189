"""Profiles: of how many processes each system of a stack consists, from one of each to a small cluster.

`LAMBDA_DL_PROFILE` (`make up PROFILE=...`) chooses one for a new stack; the state folder remembers it, since what a
cluster of brokers has written is not what one broker can read. Knows numbers and names, and starts nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from local_stack.faults import StackError
from local_stack.secret_store import write_private

SETTING = "LAMBDA_DL_PROFILE"


@dataclass(frozen=True)
class Profile:
    """How many processes there are of what; without Spark workers every Spark program is a cluster of its own."""

    name: str
    kafka_brokers: int = 1
    spark_workers: int = 0
    ray_workers: int = 0
    predictors: int = 1

    @property
    def brokers(self) -> tuple[str, ...]:
        """The names of the brokers; the first is the one that every stack has."""
        return _numbered("kafka", self.kafka_brokers)

    @property
    def services(self) -> tuple[str, ...]:
        """The names of the speed services; the first is the one that every stack has."""
        return _numbered("predictor", self.predictors)

    @property
    def workers_of_spark(self) -> tuple[str, ...]:
        """The names of Spark's workers."""
        return tuple(f"spark-worker-{n}" for n in range(1, self.spark_workers + 1))

    @property
    def workers_of_ray(self) -> tuple[str, ...]:
        """The names of Ray's nodes besides its head."""
        return tuple(f"ray-worker-{n}" for n in range(1, self.ray_workers + 1))


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return (name, *(f"{name}-{n}" for n in range(2, count + 1)))


SINGLE = Profile("single")
PROFILES = {
    profile.name: profile
    for profile in (
        SINGLE,
        Profile("spark-kafka", kafka_brokers=3, spark_workers=2),
        Profile("ray-services", ray_workers=2, predictors=2),
    )
}


def named(name: str) -> Profile:
    """The profile of that name, or a refusal that lists them."""
    if name not in PROFILES:
        raise StackError(f"no profile is called {name}", f"set {SETTING} to one of {', '.join(PROFILES)}")
    return PROFILES[name]


def choose_profile(state: Path, environment: dict[str, str] | None = None) -> Profile:
    """The profile that this state folder was started with; for a new one what is asked for, else one of each."""
    env = dict(os.environ) if environment is None else environment
    asked, kept = env.get(SETTING), _kept(state)
    if asked and kept and asked != kept:
        named(asked)
        raise StackError(
            f"the data in {state} are of profile {kept}, not {asked}",
            f"set LAMBDA_DL_STATE and LAMBDA_DL_PORT_BASE for another stack, or leave out {SETTING}",
        )
    return named(asked or kept or SINGLE.name)


def _kept(state: Path) -> str:
    """What the folder remembers; one that was started before there were profiles has one of each."""
    if _memory(state).is_file():
        return _memory(state).read_text().strip()
    return SINGLE.name if (state / "port_base").is_file() else ""


def remember_profile(state: Path, profile: Profile) -> None:
    """For every later start, stop and look at this stack."""
    write_private(_memory(state), f"{profile.name}\n")


def _memory(state: Path) -> Path:
    return state / "profile"
