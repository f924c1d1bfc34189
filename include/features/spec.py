"""The declaration of features, and the hash that ties a model to the definition it was trained on.

A feature function takes columns (subject fields, reference fields, window columns) as NumPy arrays of equal length
and returns the features the same way. It looks at one row at a time by construction of its NumPy code, so a batch
of one and a batch of a million give the same numbers. This module does not know what the features mean.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from include.tiles.kernel import WindowPlan
from include.tiles.spec import Window

Columns = Mapping[str, NDArray[Any]]
FeatureFunction = Callable[[Columns], dict[str, NDArray[Any]]]


@dataclass(frozen=True)
class Feature:
    """One feature. Numeric ones are float64 with NaN for missing; categorical ones are str or None (object)."""

    name: str
    kind: Literal["numeric", "categorical"]
    comment: str


@dataclass(frozen=True)
class Reference:
    """A small static table, joined by ``key`` of the subject to ``key_column`` of the table.

    Its columns reach the feature function as ``{name}_{column}``, missing when the key has no row.
    ``columns`` maps a column to whether it is numeric (float64, NaN) or text (object, None).
    """

    name: str
    key: str
    key_column: str
    columns: Mapping[str, Literal["numeric", "text"]]
    comment: str


@dataclass(frozen=True)
class FeatureSet:
    """The features of a use case, and the one function that computes them.

    ``subject_columns`` names the subject's fields the function may read, ``prediction_time`` (datetime64[s], UTC)
    beside them; timestamps come as datetime64[s], integers and doubles as float64, strings as object.
    """

    features: tuple[Feature, ...]
    windows: tuple[Window, ...]
    references: tuple[Reference, ...]
    function: FeatureFunction

    @cached_property
    def plan(self) -> WindowPlan:
        """The windows as the kernel takes them."""
        return WindowPlan.of(self.windows)

    @property
    def numeric(self) -> tuple[str, ...]:
        """Names of the numeric features, in order."""
        return tuple(feature.name for feature in self.features if feature.kind == "numeric")

    @property
    def categorical(self) -> tuple[str, ...]:
        """Names of the categorical features, in order."""
        return tuple(feature.name for feature in self.features if feature.kind == "categorical")

    def compute(self, columns: Columns) -> dict[str, NDArray[Any]]:
        """Run the feature function and return exactly the declared features, typed; raises if one is absent."""
        computed = self.function(columns)
        missing = [feature.name for feature in self.features if feature.name not in computed]
        if missing:
            raise ValueError(f"the feature function did not return {missing}")
        return {
            feature.name: np.asarray(computed[feature.name], dtype=np.float64 if feature.kind == "numeric" else object)
            for feature in self.features
        }

    def hash(self) -> str:
        """SHA-256 over the declaration and the source of the function's module: it changes when any of them does."""
        module = inspect.getmodule(self.function)
        source = inspect.getsource(module) if module else inspect.getsource(self.function)
        declaration = [
            [asdict(feature) for feature in self.features],
            [asdict(window) for window in self.windows],
            [{**asdict(reference), "columns": dict(reference.columns)} for reference in self.references],
        ]
        text = json.dumps([declaration, source], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
