"""What a training is made of: encoded rows of train and validation days, encoders, and weights to go on from.

The rows of both spans lie in one piece, in order of time, so that the last training, on both, needs no copy. It knows
the loop: neither searches nor tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from include.bundle.bundle import Predictor
from include.features.spec import FeatureSet
from include.target import Target
from include.training.dataset import Rows
from include.training.encoding import Encoded, Encoders
from include.training.loop import Loop, LoopConfig, Tensors, build
from include.training.network import NetworkConfig
from include.training.scratch import Portable, Scratch


@dataclass(frozen=True)
class Start:
    """A network to go on from: its architecture and weights. The encoders must be those that it was trained with."""

    network: NetworkConfig
    weights: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Material:
    """``rows`` and ``labels`` of both spans; the first ``train_rows`` are to train on, the rest to validate."""

    encoders: Encoders
    rows: Encoded
    labels: NDArray[np.float32]
    target: Target
    train_rows: int
    start: Start | None = None

    @classmethod
    def of(
        cls, encoders: Encoders, train: Rows, validation: Rows, scratch: Scratch, start: Start | None = None
    ) -> "Material":
        """Encode the rows of both spans, some at a time."""
        size = len(train) + len(validation)
        numeric, category = len(encoders.numeric), len(encoders.category)
        allocate = scratch.allocator(size * (4 * numeric + 8 * category))
        rows = Encoded(allocate((size, numeric), np.float32), allocate((size, category), np.int64))
        at = 0
        for span in (train, validation):
            for chunk in span.chunks():
                encoded = encoders.encode(chunk.columns)
                rows.numeric[at : at + len(chunk)] = encoded.numeric
                rows.category[at : at + len(chunk)] = encoded.category
                at += len(chunk)
        labels = np.concatenate([train.labels, validation.labels])
        return cls(encoders, rows, labels, train.target, len(train), start)

    @classmethod
    def following(
        cls, former: Predictor | None, features: FeatureSet, train: Rows, validation: Rows, scratch: Scratch
    ) -> "Material":
        """To go on from a former model, with its encoders and architecture; or to begin afresh, where there is none."""
        if former is None:
            return cls.of(Encoders.fit(features, train.columns), train, validation, scratch)
        start = Start(former.network.config, former.network.state_dict())
        return cls.of(former.encoders, train, validation, scratch, start)

    def tensors(self, device: torch.device) -> tuple[Tensors, Tensors]:
        """Train and validation rows for a network on the device."""
        rows = self.all_tensors(device)
        return rows.span(0, self.train_rows), rows.span(self.train_rows, len(rows))

    def all_tensors(self, device: torch.device) -> Tensors:
        """The rows of both spans together, for a network on the device."""
        return Tensors.of(self.rows, self.labels, self.target, device)

    @property
    def start_weights(self) -> Mapping[str, torch.Tensor] | None:
        """The weights to go on from, if any."""
        return self.start.weights if self.start else None

    def begin(self, config: Mapping[str, Any], epochs: int, seed: int, train: Tensors, validation: Tensors) -> Loop:
        """A loop before its first step, for one flat configuration of the search space."""
        loop = LoopConfig.from_mapping({**config, "epochs": epochs, "seed": seed})
        if self.start is None:
            return build(self.encoders, NetworkConfig.from_mapping(config), loop, train, validation)
        network = replace(self.start.network, dropout=config["dropout"])
        return build(self.encoders, network, loop, train, validation, self.start_weights)

    def __getstate__(self) -> dict[str, Any]:
        """For other processes of this run: rows that lie in files are not copied."""
        packed = (Portable.of(self.rows.numeric), Portable.of(self.rows.category))
        return {**self.__dict__, "rows": packed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        numeric, category = state["rows"]
        self.__dict__.update({**state, "rows": Encoded(numeric.open(), category.open())})
