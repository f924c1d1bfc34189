"""One training run of one configuration, half an epoch at a time: seeded, resident on the device, resumable.

Everything a part of an epoch draws at random follows from the seed and the part's number, so a run that is
interrupted after any part and restored goes on as if it had not been. It does not know searches, bundles or where rows
come from.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from include.training.calibration import fit_shift
from include.training.encoding import RARE, Encoded, Encoders
from include.training.metrics import area_under_curve, log_loss
from include.training.network import Network, NetworkConfig
from include.training.optimizer import FlatAdamW

EVALUATION_BATCH = 4096
#: Parts of an epoch. The network is validated after each, so that a search can give up early on what does not learn.
PARTS = 2


@dataclass(frozen=True)
class LoopConfig:
    """How to train. The learning rate warms up over the first epoch, then follows a cosine down to a twentieth."""

    epochs: int = 8
    batch_size: int = 512
    learning_rate: float = 6e-3
    weight_decay: float = 1.0
    #: Epochs without a better validation log-loss after which training ends.
    patience: int = 2
    #: Memory, per step, of the running average of weights that is validated and kept; it damps the noise of steps.
    averaging: float = 0.998
    #: Share of numbers shown as missing while training, so that no feature is leaned on alone.
    numeric_dropout: float = 0.1
    #: Share of categories shown as "rare" while training, so that unseen ones have a trained embedding.
    category_dropout: float = 0.02
    seed: int = 0

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "LoopConfig":
        """Take the fields that this class has from a larger configuration."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})


@dataclass(frozen=True)
class Tensors:
    """Encoded rows and their labels (float32 0/1), resident on one device."""

    numeric: Tensor
    category: Tensor
    labels: Tensor

    @classmethod
    def of(cls, rows: Encoded, labels: NDArray[Any], device: torch.device) -> "Tensors":
        """Copy encoded rows to the device."""
        return cls(
            torch.tensor(rows.numeric, device=device),
            torch.tensor(rows.category, device=device),
            torch.tensor(np.asarray(labels, dtype=np.float32), device=device),
        )

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class PartResult:
    """What one part gave, ``epoch`` epochs after the start; ``best`` says whether its log-loss is the best so far."""

    part: int
    epoch: float
    train_loss: float
    validation_log_loss: float
    validation_auc: float
    best: bool


@dataclass
class Progress:
    """Where a run is, in parts; saved with its tensors."""

    part: int = 0
    best_part: int = 0
    best_log_loss: float = math.inf
    best_auc: float = 0.0


def best_device() -> torch.device:
    """The GPU where there is one that this process may use, the CPU otherwise."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Loop:
    """A network in training. ``seed`` must be set before the network is built (see ``build``)."""

    def __init__(self, network: Network, config: LoopConfig, train: Tensors, validation: Tensors) -> None:
        self.network = network
        self.config = config
        self.train = train
        self.validation = validation
        self.optimizer = FlatAdamW(network, config.weight_decay, config.averaging)
        self.progress = Progress()
        self.best = _copy(network)

    @property
    def finished(self) -> bool:
        """Whether the epochs are used up, or validation has not improved for ``patience`` epochs."""
        stale = self.progress.part - self.progress.best_part
        return self.progress.part >= PARTS * self.config.epochs or stale >= PARTS * self.config.patience

    def run_part(self) -> PartResult:
        """Train one part of an epoch, then score the validation rows; keeps the weights if they are the best so far."""
        train_loss = self.train_part()
        labels = self.validation.labels.cpu().numpy()
        with self.optimizer.averaged():
            probabilities = predict(self.network, self.validation)
            figures = log_loss(labels, probabilities), area_under_curve(labels, probabilities)
            return self._record(train_loss, *figures)

    def train_part(self) -> float:
        """Train one part of an epoch without validation; returns the mean loss of its steps."""
        torch.manual_seed(self.config.seed * 100_003 + self.progress.part)
        self.network.train()
        losses = [self._step(rows, at) for at, rows in self._batches()]
        self.progress.part += 1
        return float(torch.stack(losses).mean())

    def best_network(self) -> Network:
        """The network with its best weights, in evaluation mode."""
        self.network.load_state_dict(self.best)
        return self.network.eval()

    def save(self, folder: Path) -> None:
        """Write everything that ``restore`` needs: safetensors and JSON, no pickle."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in self.optimizer.state().items()}
        save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, folder / "loop.safetensors")
        (folder / "loop.json").write_text(json.dumps(asdict(self.progress)))

    def restore(self, folder: Path) -> None:
        """Go on from where ``save`` was called, with the same configuration and rows."""
        tensors = load_file(folder / "loop.safetensors", device=str(self.train.labels.device))
        self.network.load_state_dict(_under(tensors, "network."))
        self.best = _under(tensors, "best.")
        self.optimizer.restore(_under(tensors, "optimizer."))
        self.progress = Progress(**json.loads((folder / "loop.json").read_text()))

    def _batches(self) -> Iterator[tuple[float, Tensor]]:
        """Row indices of each batch of this part in its epoch's order, and the epochs behind it when it comes."""
        size = min(self.config.batch_size, len(self.train))
        epoch, part = divmod(self.progress.part, PARTS)
        generator = torch.Generator().manual_seed(self.config.seed * 100_003 + epoch)
        order = torch.randperm(len(self.train), generator=generator).to(self.train.labels.device)
        batches = len(self.train) // size
        # At least one batch a part, however few rows there are.
        first, last = part * batches // PARTS, max((part + 1) * batches // PARTS, part * batches // PARTS + 1)
        for i in range(min(first, batches - 1), min(last, batches)):
            yield epoch + i / batches, order[i * size : (i + 1) * size]

    def _step(self, rows: Tensor, at: float) -> Tensor:
        numeric, category = self.train.numeric[rows], self.train.category[rows]
        absent = torch.rand(numeric.shape, device=numeric.device) < self.config.numeric_dropout
        rare = torch.rand(category.shape, device=category.device) < self.config.category_dropout
        hidden = numeric.masked_fill(absent, math.nan), category.masked_fill(rare, RARE)
        loss = self.loss(*hidden, self.train.labels[rows])
        self.optimizer.zero()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step(self.config.learning_rate * rate_factor(at, self.config.epochs))
        return loss.detach()

    def loss(self, numeric: Tensor, category: Tensor, labels: Tensor) -> Tensor:
        """What a step lowers: the mean log-loss of a batch."""
        return nn.functional.binary_cross_entropy_with_logits(self.network(numeric, category), labels)

    def _record(self, train_loss: float, validation_log_loss: float, auc: float) -> PartResult:
        best = validation_log_loss < self.progress.best_log_loss
        if best:
            self.progress.best_part = self.progress.part
            self.progress.best_log_loss, self.progress.best_auc = validation_log_loss, auc
            self.best = _copy(self.network)
        part = self.progress.part
        return PartResult(part, part / PARTS, train_loss, validation_log_loss, auc, best)


def rate_factor(at: float, epochs: int) -> float:
    """The learning rate's factor at a time in epochs: linear warm-up over one epoch, then a cosine to 0.05."""
    warm_up = min(1.0, (at + 0.02) / 1.0)
    return warm_up * (0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * min(at / epochs, 1.0))))


def predict(network: Network, rows: Tensors) -> NDArray[np.float64]:
    """Probabilities of the rows, float64 ``[n]``, uncalibrated."""
    return 1.0 / (1.0 + np.exp(-predict_logits(network, rows)))


def predict_logits(network: Network, rows: Tensors) -> NDArray[np.float64]:
    """Logits of the rows, float64 ``[n]``."""
    network.eval()
    with torch.inference_mode():
        parts = zip(
            torch.split(rows.numeric, EVALUATION_BATCH), torch.split(rows.category, EVALUATION_BATCH), strict=True
        )
        logits = torch.cat([network(numeric, category) for numeric, category in parts])
    return logits.double().cpu().numpy()


def build(
    encoders: Encoders,
    network: NetworkConfig,
    config: LoopConfig,
    train: Tensors,
    validation: Tensors,
    start: Mapping[str, Tensor] | None = None,
) -> Loop:
    """Seed, then build the network from its configuration and its loop: equal arguments give equal runs.

    ``start`` are weights to go on from, of a network with the same encoders and architecture; raises ``RuntimeError``
    if they do not fit.
    """
    torch.manual_seed(config.seed)
    fresh = Network(encoders, network)
    if start is not None:
        fresh.load_state_dict(start)
    return Loop(fresh.to(train.labels.device), config, train, validation)


def refit(loop: Loop, encoders: Encoders, rows: Tensors, start: Mapping[str, Tensor] | None = None) -> Network:
    """The network of a finished run trained again on more rows, for as long as the run's best weights had been.

    ``rows`` are those of training and validation together: what was held back to choose how long to train are the
    newest days. ``start`` as the run had it. Returns the network in evaluation mode, levelled on the rows.
    """
    again = build(encoders, loop.network.config, loop.config, rows, loop.validation, start)
    for _ in range(loop.progress.best_part):
        again.train_part()
    with again.optimizer.averaged():
        weights = _copy(again.network)
    again.network.load_state_dict(weights)
    return levelled(again.network, rows)


def levelled(network: Network, rows: Tensors) -> Network:
    """Set the last bias so that the mean probability of the rows that it was trained on is their share of positives."""
    shift = fit_shift(rows.labels.cpu().numpy(), predict_logits(network, rows))
    with torch.no_grad():
        network.head.bias.add_(shift)
    return network


def _copy(network: Network) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
