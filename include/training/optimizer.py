"""AdamW over one flat vector, with a running average of it; parameters and gradients are views into the vector.

So a step is a few operations in all: small networks spend more on a hundred little kernels than on arithmetic. And
``torch.optim`` imports the compiler (seconds of start-up per process) with its first optimizer. It knows parameters:
not rates over time, nor losses.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

FIRST_MOMENT = 0.9
SECOND_MOMENT = 0.999
EPSILON = 1e-8
LARGEST_GRADIENT = 1.0
#: Decaying biases, norms and the embeddings of missing values would pull them to nothing.
UNDECAYED = ("bias", "missing")


class FlatAdamW:
    """Owns the storage of a network's parameters; build it once the network is on its device."""

    def __init__(self, network: nn.Module, weight_decay: float, averaging: float = 0.0) -> None:
        self.averaging = averaging
        named = list(network.named_parameters())
        self.weights = torch.cat([parameter.detach().flatten() for _, parameter in named])
        self.gradients = torch.zeros_like(self.weights)
        self.average = self.weights.clone()
        self.first = torch.zeros_like(self.weights)
        self.second = torch.zeros_like(self.weights)
        self.steps = 0
        self.decay = torch.cat(
            [torch.full((p.numel(),), weight_decay if _decayed(n, p) else 0.0, device=p.device) for n, p in named]
        )
        at = 0
        for _, parameter in named:
            end = at + parameter.numel()
            parameter.data = self.weights[at:end].view_as(parameter)
            parameter.grad = self.gradients[at:end].view_as(parameter)
            at = end

    def zero(self) -> None:
        """Forget the gradients; call before each backward pass."""
        self.gradients.zero_()

    def step(self, rate: float) -> None:
        """Clip the gradient's norm to 1 and move every weight, with decoupled weight decay."""
        with torch.no_grad():
            self.steps += 1
            norm = torch.linalg.vector_norm(self.gradients)
            gradients = self.gradients * (LARGEST_GRADIENT / norm.clamp_min(LARGEST_GRADIENT))
            self.first.lerp_(gradients, 1.0 - FIRST_MOMENT)
            self.second.mul_(SECOND_MOMENT).addcmul_(gradients, gradients, value=1.0 - SECOND_MOMENT)
            scale = (self.second / (1.0 - SECOND_MOMENT**self.steps)).sqrt_().add_(EPSILON)
            self.weights.addcmul_(self.weights, self.decay, value=-rate)
            self.weights.addcdiv_(self.first, scale, value=-rate / (1.0 - FIRST_MOMENT**self.steps))
            # Young averages forget faster, or they would remember the weights' random start.
            memory = min(self.averaging, (1.0 + self.steps) / (10.0 + self.steps))
            self.average.lerp_(self.weights, 1.0 - memory)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the network has the averaged weights."""
        own = self.weights.clone()
        with torch.no_grad():
            self.weights.copy_(self.average)
        try:
            yield
        finally:
            with torch.no_grad():
                self.weights.copy_(own)

    def state(self) -> dict[str, Tensor]:
        """What ``restore`` needs besides the weights."""
        return {"first": self.first, "second": self.second, "average": self.average, "steps": torch.tensor(self.steps)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a state; the weights come with the network."""
        self.first.copy_(state["first"])
        self.second.copy_(state["second"])
        self.average.copy_(state["average"])
        self.steps = int(state["steps"])


def _decayed(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim > 1 and not name.endswith(UNDECAYED)
