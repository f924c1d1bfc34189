"""A Ray of their own for the tests that search or train on several processes."""

from collections.abc import Iterator

import pytest
import ray

from include.training.tune import connect_ray


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """A small local cluster."""
    connect_ray()
    yield
    ray.shutdown()
