"""One training run of one configuration, some of an epoch at a time: seeded, resident on the device, resumable.

Everything a part of an epoch draws at random follows from the seed and the part's number, so a run that is
interrupted after any part and restored goes on as if it had not been. It does not know searches, bundles or where rows
come from.
"""

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from include.target import Target
from include.training.calibration import fit_shift
from include.training.encoding import RARE, Encoded, Encoders
from include.training.metrics import loss, skill
from include.training.network import Network, NetworkConfig
from include.training.optimizer import FlatAdamW

EVALUATION_BATCH = 4096
#: The network is validated after an eighth of the first epoch, so that a search can soon give up what does not learn,
#: and from then on after every half.
EIGHTHS = 8
FIRST_EIGHTHS, LATER_EIGHTHS = 1, 4
#: More rows than ``MIXED_ROWS`` are drawn as blocks of neighbours, so that files are read in pieces; as many blocks as
#: have ``MIXED_ROWS`` rows are then mixed row by row.
MIXED_ROWS = 1 << 20
BLOCK_ROWS = 1 << 10
#: Rows may take so much of a GPU's free memory; larger ones stay in the machine's, and each batch is copied.
RESIDENT_SHARE = 0.2


@dataclass(frozen=True)
class LoopConfig:
    """How to train. The learning rate warms up over the first epoch, then follows a cosine down to a twentieth."""

    epochs: int = 8
    batch_size: int = 512
    learning_rate: float = 6e-3
    weight_decay: float = 1.0
    #: Epochs without a better validation loss after which training ends.
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
    """Encoded rows and their labels (float32) for a network on ``device``: there if they fit, on the CPU if not."""

    numeric: Tensor
    category: Tensor
    labels: Tensor
    target: Target
    device: torch.device

    @classmethod
    def of(cls, rows: Encoded, labels: NDArray[Any], target: Target, device: torch.device) -> "Tensors":
        """Share the arrays' memory on the CPU, or copy them to the device."""
        arrays = rows.numeric, rows.category, np.asarray(labels, dtype=np.float32)
        place = device if _resident(sum(array.nbytes for array in arrays), device) else torch.device("cpu")
        with warnings.catch_warnings():
            # Torch warns of arrays that are read only, as Ray's shared ones are: nothing here writes into rows.
            warnings.simplefilter("ignore", UserWarning)
            numeric, category, truth = (torch.from_numpy(array).to(place) for array in arrays)
        return cls(numeric, category, truth, target, device)

    def __len__(self) -> int:
        return len(self.labels)

    def span(self, start: int, end: int) -> "Tensors":
        """The rows from ``start`` up to ``end``, which share memory with these."""
        parts = self.numeric[start:end], self.category[start:end], self.labels[start:end]
        return Tensors(*parts, self.target, self.device)

    def at(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers, categories and labels of the rows of an index, on the device."""
        place = index.to(self.labels.device)
        return (
            self.numeric[place].to(self.device),
            self.category[place].to(self.device),
            self.labels[place].to(self.device),
        )


@dataclass(frozen=True)
class Share:
    """Which part of every batch is this process's, when several train one network together."""

    rank: int
    workers: int


ALONE = Share(0, 1)


@dataclass(frozen=True)
class PartResult:
    """What one part gave, ``epoch`` epochs after the start; ``best`` says whether its loss is the best so far."""

    part: int
    epoch: float
    train_loss: float
    validation_loss: float
    validation_skill: float
    best: bool


@dataclass
class Progress:
    """Where a run is, in parts; saved with its tensors."""

    part: int = 0
    best_part: int = 0
    best_loss: float = math.inf
    best_skill: float = 0.0


def _resident(size: int, device: torch.device) -> bool:
    return device.type != "cuda" or size <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def best_device() -> torch.device:
    """The GPU where there is one that this process may use, the CPU otherwise."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Loop:
    """A network in training. ``seed`` must be set before the network is built (see ``build``)."""

    def __init__(
        self, network: Network, config: LoopConfig, train: Tensors, validation: Tensors, share: Share = ALONE
    ) -> None:
        self.network = network
        self.config = config
        self.share = share
        self.train = train
        self.validation = validation
        self.optimizer = FlatAdamW(network, config.weight_decay, config.averaging)
        self.progress = Progress()
        self.best = _copy(network)

    @property
    def finished(self) -> bool:
        """Whether the epochs are used up, or validation has not improved for ``patience`` epochs."""
        done, best = eighths_of(self.progress.part), eighths_of(self.progress.best_part)
        return done >= EIGHTHS * self.config.epochs or done - best >= EIGHTHS * self.config.patience

    def run_part(self) -> PartResult:
        """Train one part of an epoch, then score the validation rows; keeps the weights if they are the best so far."""
        train_loss = self.train_part()
        labels = self.validation.labels.cpu().numpy()
        with self.optimizer.averaged():
            answers = predict(self.network, self.validation)
            target = self.validation.target
            figures = loss(target, labels, answers), skill(target, labels, answers)
            return self._record(train_loss, *figures)

    def train_part(self) -> float:
        """Train one part of an epoch without validation; returns the mean loss of its steps."""
        torch.manual_seed(self.config.seed * 100_003 + self.progress.part + 7_919 * self.share.rank)
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
        tensors = load_file(folder / "loop.safetensors", device=str(self.train.device))
        self.network.load_state_dict(_under(tensors, "network."))
        self.best = _under(tensors, "best.")
        self.optimizer.restore(_under(tensors, "optimizer."))
        self.progress = Progress(**json.loads((folder / "loop.json").read_text()))

    def _batches(self) -> Iterator[tuple[float, Tensor]]:
        """Row indices of each batch of this part in its epoch's order, and the epochs behind it when it comes."""
        workers = self.share.workers
        size = max(min(self.config.batch_size, len(self.train)) // workers, 1) * workers
        epoch, done = divmod(eighths_of(self.progress.part), EIGHTHS)
        then = eighths_of(self.progress.part + 1) - epoch * EIGHTHS
        order = shuffled(len(self.train), torch.Generator().manual_seed(self.config.seed * 100_003 + epoch))
        batches = len(self.train) // size
        # At least one batch a part, however few rows there are.
        first = done * batches // EIGHTHS
        last = max(then * batches // EIGHTHS, first + 1)
        for i in range(min(first, batches - 1), min(last, batches)):
            yield epoch + i / batches, order[i * size + self.share.rank : (i + 1) * size : workers]

    def _step(self, rows: Tensor, at: float) -> Tensor:
        numeric, category, labels = self.train.at(rows)
        absent = torch.rand(numeric.shape, device=numeric.device) < self.config.numeric_dropout
        rare = torch.rand(category.shape, device=category.device) < self.config.category_dropout
        loss = self.loss(numeric.masked_fill(absent, math.nan), category.masked_fill(rare, RARE), labels)
        self.optimizer.zero()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.share.workers > 1:
            # All gradients are one vector, so one exchange a step makes the workers' networks move alike.
            torch.distributed.all_reduce(self.optimizer.gradients)
            self.optimizer.gradients /= self.share.workers
        self.optimizer.step(self.config.learning_rate * rate_factor(at, self.config.epochs))
        return loss.detach()

    def loss(self, numeric: Tensor, category: Tensor, labels: Tensor) -> Tensor:
        """What a step lowers: a batch's mean log-loss or Poisson deviance."""
        scores = self.network(numeric, category)
        if self.train.target.kind == "count":
            deviance: Tensor = 2.0 * (scores.exp() - labels * scores + torch.special.xlogy(labels, labels) - labels)
            return deviance.mean()
        return nn.functional.binary_cross_entropy_with_logits(scores, labels)

    def _record(self, train_loss: float, validation_loss: float, validation_skill: float) -> PartResult:
        best = validation_loss < self.progress.best_loss
        if best:
            self.progress.best_part = self.progress.part
            self.progress.best_loss, self.progress.best_skill = validation_loss, validation_skill
            self.best = _copy(self.network)
        part = self.progress.part
        return PartResult(part, epochs_of(part), train_loss, validation_loss, validation_skill, best)


def eighths_of(parts: int) -> int:
    """How many eighths of an epoch so many parts are."""
    return FIRST_EIGHTHS * parts if parts < 2 else LATER_EIGHTHS * (parts - 1)


def epochs_of(parts: int) -> float:
    """How many epochs so many parts are."""
    return eighths_of(parts) / EIGHTHS


def parts_of(epochs: float) -> int:
    """How many parts so many epochs are, by ``epochs_of`` or whole ones."""
    return 1 + int(EIGHTHS * epochs) // LATER_EIGHTHS


def shuffled(count: int, generator: torch.Generator) -> Tensor:
    """The row numbers below ``count`` in random order, int64 ``[count]``; near each other where there are many.

    Up to ``MIXED_ROWS`` rows every order is equally likely.
    """
    if count <= MIXED_ROWS:
        return torch.randperm(count, generator=generator)
    blocks = torch.randperm(-(-count // BLOCK_ROWS), generator=generator)
    order = (blocks[:, None] * BLOCK_ROWS + torch.arange(BLOCK_ROWS)).flatten()
    order = order[order < count]
    mixed = [part[torch.randperm(len(part), generator=generator)] for part in torch.split(order, MIXED_ROWS)]
    return torch.cat(mixed)


def rate_factor(at: float, epochs: int) -> float:
    """The learning rate's factor at a time in epochs: linear warm-up over one epoch, then a cosine to 0.05."""
    warm_up = min(1.0, (at + 0.02) / 1.0)
    return warm_up * (0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * min(at / epochs, 1.0))))


def predict(network: Network, rows: Tensors) -> NDArray[np.float64]:
    """Answers for the rows, float64 ``[n]``, uncalibrated."""
    return rows.target.respond(predict_scores(network, rows))


def predict_scores(network: Network, rows: Tensors) -> NDArray[np.float64]:
    """The network's scores of the rows (logits, logarithms of counts), float64 ``[n]``."""
    network.eval()
    # Not joined from parts: each part would lie behind its batch's working memory, which then goes back to nobody.
    scores = torch.empty(len(rows), device=rows.device)
    with torch.inference_mode():
        for start in range(0, len(rows), EVALUATION_BATCH):
            batch = rows.span(start, start + EVALUATION_BATCH)
            scores[start : start + len(batch)] = network(batch.numeric.to(rows.device), batch.category.to(rows.device))
    return scores.double().cpu().numpy()


def build(
    encoders: Encoders,
    network: NetworkConfig,
    config: LoopConfig,
    train: Tensors,
    validation: Tensors,
    start: Mapping[str, Tensor] | None = None,
    share: Share = ALONE,
) -> Loop:
    """Seed, then build the network from its configuration and its loop: equal arguments give equal runs.

    ``start`` are weights to go on from, of a network with the same encoders and architecture; raises ``RuntimeError``
    if they do not fit.
    """
    torch.manual_seed(config.seed)
    fresh = Network(encoders, network)
    if start is not None:
        fresh.load_state_dict(start)
    elif train.target.kind == "count":
        # The logarithm of a count may lie many steps from 0, where a network begins.
        fresh = levelled(fresh.to(train.device), train).train()
    return Loop(fresh.to(train.device), config, train, validation, share)


def levelled(network: Network, rows: Tensors, temperature: float = 1.0) -> Network:
    """Set the last bias so that the mean answer for the rows that it was trained on is their labels' mean.

    At the temperature with which it will answer: that draws every answer towards a half, and their mean with them.
    """
    scores = predict_scores(network, rows) / temperature
    shift = temperature * fit_shift(rows.target, rows.labels.cpu().numpy(), scores)
    with torch.no_grad():
        network.head.bias.add_(shift)
    return network


def averaged_network(loop: Loop) -> Network:
    """The loop's network with its averaged weights, in evaluation mode."""
    with loop.optimizer.averaged():
        weights = _copy(loop.network)
    loop.network.load_state_dict(weights)
    return loop.network.eval()


def _copy(network: Network) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
