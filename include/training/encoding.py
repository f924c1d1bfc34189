"""From feature columns to the network's two matrices, learned on the training days only.

Numeric features are standardised and keep NaN: the network knows missing values. Their quantile edges go with them,
for the network's piecewise-linear encoding. Categories become integers: 0 missing, 1 rare or unseen, then the
vocabulary. It knows NumPy only: neither Torch nor where columns come from.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from include.features.spec import FeatureSet

MISSING = 0
RARE = 1
FIRST_VALUE = 2
#: Beyond this many standard deviations a value is clipped: it is an outlier whose size says nothing more.
CLIP = 10.0


@dataclass(frozen=True)
class NumericEncoder:
    """Standardisation of one numeric feature; ``edges`` are distinct rising quantiles, in the feature's own units."""

    name: str
    mean: float
    scale: float
    edges: tuple[float, ...]

    @classmethod
    def fit(cls, name: str, values: NDArray[np.float64], bins: int) -> "NumericEncoder":
        """Learn from the training days; a feature that is constant or always missing gets no edges."""
        known = values[np.isfinite(values)]
        if known.size == 0:
            return cls(name, 0.0, 1.0, ())
        edges = np.unique(np.quantile(known, np.linspace(0.0, 1.0, bins + 1)))
        # Of equal values the deviation can be a rounding error, by which any other value would be far out.
        scale = float(known.std()) if edges.size > 1 else 0.0
        return cls(name, float(known.mean()), scale or 1.0, tuple(edges) if edges.size > 1 else ())

    @property
    def scaled_edges(self) -> tuple[float, ...]:
        """The edges after standardisation."""
        return tuple(max(-CLIP, min(CLIP, (edge - self.mean) / self.scale)) for edge in self.edges)


@dataclass(frozen=True)
class CategoryEncoder:
    """The vocabulary of one categorical feature, most frequent first."""

    name: str
    values: tuple[str, ...]

    @classmethod
    def fit(cls, name: str, values: NDArray[Any], minimum_count: int) -> "CategoryEncoder":
        """Learn the values that occur at least ``minimum_count`` times in the training days."""
        counts = Counter(str(value) for value in values if value is not None)
        kept = [(count, value) for value, count in counts.items() if count >= minimum_count]
        return cls(name, tuple(value for _, value in sorted(kept, key=lambda item: (-item[0], item[1]))))

    @property
    def size(self) -> int:
        """How many integers the feature can become."""
        return len(self.values) + FIRST_VALUE


@dataclass(frozen=True)
class Encoded:
    """``numeric`` float32 ``[n, numeric features]`` with NaN for missing, ``category`` int64 ``[n, categorical]``."""

    numeric: NDArray[np.float32]
    category: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numeric)


class Encoders:
    """All encoders of a feature set, in its order."""

    def __init__(self, numeric: tuple[NumericEncoder, ...], category: tuple[CategoryEncoder, ...]) -> None:
        self.numeric = numeric
        self.category = category
        self._mean = np.array([encoder.mean for encoder in numeric], dtype=np.float64)
        self._scale = np.array([encoder.scale for encoder in numeric], dtype=np.float64)
        self._codes = [{value: i + FIRST_VALUE for i, value in enumerate(encoder.values)} for encoder in category]

    @classmethod
    def fit(
        cls, features: FeatureSet, columns: Mapping[str, NDArray[Any]], bins: int = 24, minimum_count: int = 10
    ) -> "Encoders":
        """Learn every encoder from the columns of the training days."""
        numeric = tuple(NumericEncoder.fit(name, columns[name], bins) for name in features.numeric)
        category = tuple(CategoryEncoder.fit(name, columns[name], minimum_count) for name in features.categorical)
        return cls(numeric, category)

    def encode(self, columns: Mapping[str, NDArray[Any]]) -> Encoded:
        """Encode ``n`` rows, given as columns; infinities count as missing. Raises ``KeyError`` on an absent column."""
        n = len(next(iter(columns.values()))) if columns else 0
        return Encoded(self._encode_numeric(columns, n), self._encode_category(columns, n))

    def _encode_numeric(self, columns: Mapping[str, NDArray[Any]], n: int) -> NDArray[np.float32]:
        if not self.numeric:
            return np.empty((n, 0), dtype=np.float32)
        raw = np.column_stack([np.asarray(columns[encoder.name], dtype=np.float64) for encoder in self.numeric])
        scaled = np.clip((raw - self._mean) / self._scale, -CLIP, CLIP)
        scaled[~np.isfinite(raw)] = np.nan
        return scaled.astype(np.float32)

    def _encode_category(self, columns: Mapping[str, NDArray[Any]], n: int) -> NDArray[np.int64]:
        codes = np.empty((n, len(self.category)), dtype=np.int64)
        for i, (encoder, known) in enumerate(zip(self.category, self._codes, strict=True)):
            values = columns[encoder.name]
            codes[:, i] = [MISSING if value is None else known.get(value, RARE) for value in values]
        return codes

    def to_json(self) -> dict[str, Any]:
        """The encoders as a JSON object; ``from_json`` gives them back exactly."""
        return {
            "numeric": [
                {"name": e.name, "mean": e.mean, "scale": e.scale, "edges": [float(x) for x in e.edges]}
                for e in self.numeric
            ],
            "categorical": [{"name": e.name, "values": list(e.values)} for e in self.category],
            "codes": {"missing": MISSING, "rare_or_unseen": RARE, "first_value": FIRST_VALUE},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Encoders":
        """The inverse of ``to_json``."""
        numeric = tuple(
            NumericEncoder(e["name"], e["mean"], e["scale"], tuple(e["edges"])) for e in document["numeric"]
        )
        category = tuple(CategoryEncoder(e["name"], tuple(e["values"])) for e in document["categorical"])
        return cls(numeric, category)
