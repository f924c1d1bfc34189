"""The network: piecewise-linear encodings and embeddings into a multilayer perceptron that gives one score a row.

Missing numbers have a learned embedding of their own, and no layer looks at a batch's statistics: a row's answer does
not depend on its batch. Why this backbone: ``docs/adr/0008-a-plain-perceptron.md``. It knows Torch and the encoders'
shapes: neither training nor bundles.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from include.training.encoding import Encoders, NumericEncoder

#: Standard deviations on either side of the mean over which a number's line runs.
LINE_END = 2.5


@dataclass(frozen=True)
class NetworkConfig:
    """The architecture's hyper-parameters. ``embedding_width`` is per numeric feature, ``category_width`` a maximum.

    ``layers`` counts the hidden layers after the first.
    """

    width: int = 128
    layers: int = 2
    dropout: float = 0.3
    embedding_width: int = 4
    category_width: int = 12

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "NetworkConfig":
        """Take the fields that this class has from a larger configuration."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})

    def to_json(self) -> dict[str, Any]:
        """The configuration as a JSON object."""
        return asdict(self)


class NumericEmbedding(nn.Module):
    """Each number becomes ``width`` numbers: a line, plus a piecewise-linear function over its quantile bins.

    The line runs over the middle of the training days' values only: beyond, seasons that no day has shown would move
    it without limit.
    """

    lower: Tensor
    inverse_width: Tensor

    def __init__(self, encoders: tuple[NumericEncoder, ...], width: int) -> None:
        super().__init__()
        lower, inverse_width = _bins(encoders)
        self.register_buffer("lower", lower)
        self.register_buffer("inverse_width", inverse_width)
        features, bins = lower.shape
        self.slope = nn.Parameter(torch.randn(features, width) * 0.3)
        self.bias = nn.Parameter(torch.randn(features, width) * 0.1)
        # Zero at the start: the network begins as one on lines and bends them where the data asks for it.
        self.bends = nn.Parameter(torch.zeros(features, bins, width))
        self.missing = nn.Parameter(torch.randn(features, width) * 0.1)

    def forward(self, numeric: Tensor) -> Tensor:
        """``[n, features]`` with NaN for missing -> ``[n, features * width]``."""
        absent = torch.isnan(numeric).unsqueeze(-1)
        value = torch.nan_to_num(numeric).unsqueeze(-1)
        steps = ((value - self.lower) * self.inverse_width).clamp_(0.0, 1.0)
        # One matrix product per feature, batched over features: einsum("nfb,fbw->nfw") on CPU without its copies.
        bent = torch.bmm(steps.transpose(0, 1), self.bends).transpose(0, 1)
        line = value.clamp(-LINE_END, LINE_END) * self.slope
        return torch.where(absent, self.missing, line + self.bias + bent).flatten(1)


class Network(nn.Module):
    """Encoded rows -> one score a row: a logit, or the logarithm of a count (see ``include.target``)."""

    def __init__(self, encoders: Encoders, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.numbers = NumericEmbedding(encoders.numeric, config.embedding_width)
        sizes = [encoder.size for encoder in encoders.category]
        widths = [min(config.category_width, 1 + size // 2) for size in sizes]
        self.categories = nn.ModuleList(nn.Embedding(size, width) for size, width in zip(sizes, widths, strict=True))
        for table in self.categories:
            assert isinstance(table, nn.Embedding)
            nn.init.normal_(table.weight, std=0.1)
        inputs = len(encoders.numeric) * config.embedding_width + sum(widths)
        self.stem = nn.Linear(inputs, config.width)
        self.layers = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.layers))
        self.head = nn.Linear(config.width, 1)

    def forward(self, numeric: Tensor, category: Tensor) -> Tensor:
        """float32 ``[n, numeric]`` and int64 ``[n, categorical]`` -> scores float32 ``[n]``."""
        x = self._active(self.embed(numeric, category))
        for layer in self.layers:
            x = self._active(layer(x))
        scores: Tensor = self.head(x).squeeze(1)
        return scores

    def embed(self, numeric: Tensor, category: Tensor) -> Tensor:
        """The first layer's output ``[n, width]``: a sum over the features, each by itself."""
        parts = [self.numbers(numeric)]
        parts += [table(category[:, i]) for i, table in enumerate(self.categories)]
        x: Tensor = self.stem(torch.cat(parts, dim=1))
        return x

    def _active(self, x: Tensor) -> Tensor:
        return functional.dropout(functional.relu(x), self.config.dropout, self.training)


def _bins(encoders: tuple[NumericEncoder, ...]) -> tuple[Tensor, Tensor]:
    """Lower edge and inverse width of every bin, ``[features, bins]``; features with fewer bins are padded by zeros."""
    bins = max((len(encoder.edges) - 1 for encoder in encoders), default=0)
    lower = torch.zeros(len(encoders), max(bins, 1))
    inverse_width = torch.zeros(len(encoders), max(bins, 1))
    for i, encoder in enumerate(encoders):
        edges = torch.tensor(encoder.scaled_edges, dtype=torch.float64)
        if len(edges) > 1:
            width = edges.diff()
            lower[i, : len(width)] = edges[:-1]
            inverse_width[i, : len(width)] = torch.where(width > 0, 1.0 / width.clamp_min(1e-9), 0.0)
    return lower, inverse_width
