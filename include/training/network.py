"""The network: piecewise-linear encodings and embeddings into a ResNet-style MLP that gives one logit a row.

Missing numbers have a learned embedding of their own. LayerNorm, not batch statistics, so that a row's answer does
not depend on its batch. It knows Torch and the encoders' shapes: neither training nor bundles.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from include.training.encoding import Encoders, NumericEncoder


@dataclass(frozen=True)
class NetworkConfig:
    """The architecture's hyper-parameters. ``embedding_width`` is per numeric feature, ``category_width`` a maximum."""

    width: int = 128
    blocks: int = 2
    dropout: float = 0.2
    embedding_width: int = 8
    category_width: int = 12

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "NetworkConfig":
        """Take the fields that this class has from a larger configuration."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})

    def to_json(self) -> dict[str, Any]:
        """The configuration as a JSON object."""
        return asdict(self)


class NumericEmbedding(nn.Module):
    """Each number becomes ``width`` numbers: a line, plus a piecewise-linear function over its quantile bins."""

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
        steps = ((value - self.lower) * self.inverse_width).clamp(0.0, 1.0)
        # One matrix product per feature, batched over features: einsum("nfb,fbw->nfw") on CPU without its copies.
        bent = torch.bmm(steps.transpose(0, 1), self.bends).transpose(0, 1)
        return torch.where(absent, self.missing, value * self.slope + self.bias + bent).flatten(1)


class ResidualBlock(nn.Module):
    """Normalise, widen twofold, narrow, add."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout / 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[n, width]`` -> ``[n, width]``."""
        y: Tensor = x + self.body(x)
        return y


class Network(nn.Module):
    """Encoded rows -> one logit a row."""

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
        self.blocks = nn.Sequential(*(ResidualBlock(config.width, config.dropout) for _ in range(config.blocks)))
        self.head = nn.Sequential(nn.LayerNorm(config.width), nn.ReLU(), nn.Linear(config.width, 1))

    def forward(self, numeric: Tensor, category: Tensor) -> Tensor:
        """float32 ``[n, numeric]`` and int64 ``[n, categorical]`` -> logits float32 ``[n]``."""
        parts = [self.numbers(numeric)]
        parts += [table(category[:, i]) for i, table in enumerate(self.categories)]
        logits: Tensor = self.head(self.blocks(self.stem(torch.cat(parts, dim=1))))
        return logits.squeeze(1)


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
