"""How to train a network for a given time on all rows of its material, alone or as one of several workers.

Nothing is validated: how long to train was chosen before. It does not know who asks, nor how workers find each other.
"""

from dataclasses import dataclass

import pyarrow.fs
import torch

from include.training.loop import ALONE, LoopConfig, Share, averaged_network, build, levelled
from include.training.material import Material
from include.training.network import Network, NetworkConfig


@dataclass(frozen=True)
class Recipe:
    """Architecture, way and length of training (in parts of epochs), and rows."""

    network: NetworkConfig
    loop: LoopConfig
    parts: int
    material: Material
    #: At which the network will answer.
    temperature: float = 1.0

    def train(self, device: torch.device, share: Share = ALONE) -> Network:
        """The network with its averaged weights, levelled on the rows, in evaluation mode on the device."""
        material = self.material
        rows = material.all_tensors(device)
        nothing = rows.span(0, 0)
        loop = build(material.encoders, self.network, self.loop, rows, nothing, material.start_weights, share)
        for _ in range(self.parts):
            loop.train_part()
        return levelled(averaged_network(loop), rows, self.temperature)


@dataclass(frozen=True)
class Team:
    """How many processes of the Ray cluster train one network, and the folder in ``filesystem`` for what they keep."""

    workers: int
    storage: str
    filesystem: pyarrow.fs.FileSystem | None
