"""Which backbone is worth its cost: plain MLP, residual MLP and several members, by rolling validation in time.

Three folds, each trained on all days before the days it is validated on, each backbone at the same number of epochs
and over the same few learning rates and weight decays; the last epoch counts, so nothing is stopped where it happened
to be best. No test day is looked at. It knows the loop and the network: not searches.
"""

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from include.target import BINARY
from include.training.dataset import Dataset
from include.training.encoding import Encoders
from include.training.loop import Loop, LoopConfig, Tensors, parts_of, predict
from include.training.metrics import area_under_curve, loss
from include.training.network import Network, NetworkConfig
from tests.bench.training.material import Year

#: First validation day and the day after the last one.
FOLDS = (("2013-05-01", "2013-07-01"), ("2013-07-01", "2013-09-01"), ("2013-09-01", "2013-10-01"))
BACKBONES = ("mlp", "residual", "members-8")
#: Learning rates and weight decays that each backbone may choose from.
SETTINGS = ((0.003, 0.5), (0.006, 1.0))


class ResidualNetwork(Network):
    """The same encodings and first layer, then one pre-normalised residual block instead of plain layers."""

    def __init__(self, encoders: Encoders, config: NetworkConfig) -> None:
        super().__init__(encoders, config)
        width = config.width
        parts = (nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Dropout(config.dropout))
        self.block = nn.Sequential(*parts, nn.Linear(width, width), nn.Dropout(config.dropout / 2))
        self.layers = nn.ModuleList()
        self.norm = nn.LayerNorm(width)

    def forward(self, numeric: Tensor, category: Tensor) -> Tensor:
        """Logits ``[n]``."""
        x = self.embed(numeric, category)
        logits: Tensor = self.head(functional.relu(self.norm(x + self.block(x)))).squeeze(1)
        return logits


class MemberNetwork(Network):
    """TabM's parameter-sharing ensemble (Gorishniy et al., ICLR 2025) behind the same encodings and first layer.

    Members share every layer's weights and scale its outputs by vectors of their own.
    """

    def __init__(self, encoders: Encoders, config: NetworkConfig, members: int) -> None:
        super().__init__(encoders, config)
        shape = (members, config.width)
        hidden = range(config.layers + 1)
        self.scales = nn.ParameterList(
            1.0 + (0.5 * torch.randn(shape) if i == 0 else torch.zeros(shape)) for i in hidden
        )
        self.biases = nn.ParameterList(0.1 * torch.randn(shape) if i == 0 else torch.zeros(shape) for i in hidden)
        self.heads = nn.Parameter(torch.randn(shape) / config.width**0.5)
        self.heads_bias = nn.Parameter(torch.zeros(members))

    def member_logits(self, numeric: Tensor, category: Tensor) -> Tensor:
        """Each member's logits ``[n, members]``."""
        x = self.embed(numeric, category).unsqueeze(1)
        for number, (scale, bias) in enumerate(zip(self.scales, self.biases, strict=True)):
            x = (self.layers[number - 1](x) if number else x) * scale + bias
            x = functional.dropout(functional.relu(x), self.config.dropout, self.training)
        return (x * self.heads).sum(-1) + self.heads_bias

    def forward(self, numeric: Tensor, category: Tensor) -> Tensor:
        """Logits of the members' mean probability ``[n]``."""
        return torch.logit(torch.sigmoid(self.member_logits(numeric, category)).mean(1), eps=1e-6)


class MemberLoop(Loop):
    """Each member learns by itself; only their answers are averaged."""

    def loss(self, numeric: Tensor, category: Tensor, labels: Tensor) -> Tensor:
        """The mean log-loss of all members."""
        assert isinstance(self.network, MemberNetwork)
        logits = self.network.member_logits(numeric, category)
        return functional.binary_cross_entropy_with_logits(logits, labels.unsqueeze(1).expand_as(logits))


@dataclass(frozen=True)
class Fold:
    """One fold's rows."""

    encoders: Encoders
    train: Tensors
    validation: Tensors


@dataclass(frozen=True)
class Outcome:
    """One backbone and setting: figures per fold, and training seconds per epoch on the last fold, one thread."""

    backbone: str
    rate: float
    decay: float
    auc: tuple[float, ...]
    log_loss: tuple[float, ...]
    seconds: float


def loop_of(backbone: str, config: LoopConfig, fold: Fold) -> Loop:
    """A backbone at the default sizes, before its first step."""
    torch.manual_seed(config.seed)
    sizes = NetworkConfig()
    if backbone.startswith("members-"):
        members = int(backbone.removeprefix("members-"))
        return MemberLoop(MemberNetwork(fold.encoders, sizes, members), config, fold.train, fold.validation)
    kind = ResidualNetwork if backbone == "residual" else Network
    return Loop(kind(fold.encoders, sizes), config, fold.train, fold.validation)


@lru_cache(maxsize=1)
def folds(folder: Path) -> tuple[Fold, ...]:
    """The folds in order of time, read once per process."""
    year = Year.open(folder)
    return tuple(fold_of(year, year.dataset(first, end)) for first, end in FOLDS)


def fold_of(year: Year, dataset: Dataset) -> Fold:
    """A dataset's train and validation rows."""
    material = year.material(dataset)
    return Fold(material.encoders, *material.tensors(torch.device("cpu")))


def measure(task: tuple[Path, str, float, float, int]) -> Outcome:
    """One backbone at one setting over all folds."""
    folder, backbone, rate, decay, epochs = task
    torch.set_num_threads(1)
    found = [run(fold, backbone, rate, decay, epochs) for fold in folds(folder)]
    aucs, losses, seconds = zip(*found, strict=True)
    return Outcome(backbone, rate, decay, aucs, losses, seconds[-1])


def run(fold: Fold, backbone: str, rate: float, decay: float, epochs: int) -> tuple[float, float, float]:
    """AUC and log-loss after the last epoch, and training seconds per epoch."""
    config = LoopConfig(epochs=epochs, learning_rate=rate, weight_decay=decay)
    loop = loop_of(backbone, config, fold)
    started = time.perf_counter()
    for _ in range(parts_of(epochs)):
        loop.train_part()
    seconds = (time.perf_counter() - started) / epochs
    with loop.optimizer.averaged():
        p = predict(loop.network, fold.validation)
    labels = fold.validation.labels.numpy()
    return area_under_curve(labels, p), loss(BINARY, labels, p), seconds


def compare(folder: Path, epochs: int) -> list[Outcome]:
    """Every backbone at every setting, two at once."""
    tasks = [(folder, name, *setting, epochs) for name in BACKBONES for setting in SETTINGS]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return list(pool.map(measure, tasks))


def report(outcomes: list[Outcome]) -> list[str]:
    """The table, each backbone's best setting first, means over the folds."""
    lines = [
        "| backbone | rate | decay | mean AUC | mean log-loss | log-loss of each fold | s/epoch |",
        "|" + "---|" * 7,
    ]
    for o in sorted(outcomes, key=lambda o: (BACKBONES.index(o.backbone), float(np.mean(o.log_loss)))):
        each = ", ".join(f"{loss:.4f}" for loss in o.log_loss)
        means = f"{float(np.mean(o.auc)):.4f} | {float(np.mean(o.log_loss)):.4f}"
        lines.append(f"| {o.backbone} | {o.rate} | {o.decay} | {means} | {each} | {o.seconds:.1f} |")
    return lines
