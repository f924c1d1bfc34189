"""Whether bfloat16 and the compiler pay on this machine: seconds of an epoch, and what is learned in it.

Two epochs of the same network on the same rows each time; the second is timed, so that compiling is not. It knows the
loop: nothing else of training.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from include.target import BINARY
from include.training.loop import Loop, LoopConfig, Tensors, best_device, parts_of, predict
from include.training.material import Material
from include.training.metrics import loss
from include.training.network import Network, NetworkConfig


@dataclass(frozen=True)
class Timing:
    """One way to compute a step."""

    name: str
    seconds: float
    validation_log_loss: float


class HalfLoop(Loop):
    """Products in bfloat16, everything else as it is."""

    def loss(self, numeric: Tensor, category: Tensor, labels: Tensor) -> Tensor:
        """The loss under autocast."""
        with torch.autocast(labels.device.type, torch.bfloat16):
            return super().loss(numeric, category, labels)


class CompiledLoop(Loop):
    """The loss through ``torch.compile``."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._compiled: Callable[..., Tensor] = torch.compile(super().loss)

    def loss(self, numeric: Tensor, category: Tensor, labels: Tensor) -> Tensor:
        """The compiled loss."""
        return self._compiled(numeric, category, labels)


def timings(material: Material) -> list[Timing | str]:
    """float32, bfloat16 and compiled; a line of text for what cannot run here."""
    train, validation = material.tensors(best_device())
    found: list[Timing | str] = []
    for name, kind in (("float32", Loop), ("bfloat16 autocast", HalfLoop), ("torch.compile", CompiledLoop)):
        try:
            found.append(timed(name, kind, material, train, validation))
        except Exception as error:  # whatever a compiler that is not there raises
            found.append(f"{name}: cannot run here: {str(error).splitlines()[0]}")
    return found


def timed(name: str, kind: type[Loop], material: Material, train: Tensors, validation: Tensors) -> Timing:
    """Train two epochs and time the second."""
    torch.manual_seed(0)
    loop = kind(Network(material.encoders, NetworkConfig()).to(train.device), LoopConfig(), train, validation)
    for part in range(parts_of(2)):
        if part == parts_of(1):
            started = time.perf_counter()
        loop.train_part()
    seconds = time.perf_counter() - started
    with loop.optimizer.averaged():
        probabilities = predict(loop.network, validation)
    return Timing(name, seconds, loss(BINARY, validation.labels.cpu().numpy(), probabilities))


def report(found: list[Timing | str]) -> list[str]:
    """The table."""
    rows = [t for t in found if isinstance(t, Timing)]
    lines = [f"device {best_device()}", "| step | s/epoch | validation log-loss after two |", "|---|---|---|"]
    lines += [f"| {t.name} | {t.seconds:.1f} | {t.validation_log_loss:.4f} |" for t in rows]
    return [*lines, *(text for text in found if isinstance(text, str))]
