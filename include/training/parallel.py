"""One network trained by several processes at once, by Ray Train: each takes its part of every batch.

Gradients are averaged at each step, so all workers' networks stay the same, and together they take the steps that one
process would take on the whole batch. GPUs talk through NCCL, processes on CPUs through Gloo. A worker that dies starts
all of them again, from the recipe. It knows recipes: not where they come from.
"""

import tempfile
from pathlib import Path
from typing import Any

import ray
import torch
from ray import train
from ray.train.torch import TorchTrainer, get_device
from safetensors.torch import load_file, save_file

from include.training.loop import Share
from include.training.network import Network
from include.training.recipe import Recipe, Team

WEIGHTS = "weights.safetensors"
ATTEMPTS_AGAIN = 1


def train_together(recipe: Recipe, team: Team) -> Network:
    """Train on the team's processes in the connected Ray cluster, on a GPU each if it has as many.

    Returns the network on the CPU, in evaluation mode.
    """
    gpus = int(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
    trainer = TorchTrainer(
        _work,
        train_loop_config={"recipe": ray.put(recipe)},
        scaling_config=train.ScalingConfig(num_workers=team.workers, use_gpu=gpus >= team.workers),
        run_config=train.RunConfig(
            name="last-training",
            storage_path=team.storage,
            storage_filesystem=team.filesystem,
            failure_config=train.FailureConfig(max_failures=ATTEMPTS_AGAIN),
        ),
    )
    checkpoint = trainer.fit().checkpoint
    assert checkpoint is not None
    network = Network(recipe.material.encoders, recipe.network)
    with checkpoint.as_directory() as folder:
        network.load_state_dict(load_file(Path(folder) / WEIGHTS))
    return network.eval()


def _work(config: dict[str, Any]) -> None:
    context = train.get_context()
    share = Share(context.get_world_rank(), context.get_world_size())
    device = get_device()
    if device.type == "cpu":
        torch.set_num_threads(1)
    recipe: Recipe = ray.get(config["recipe"])
    network = recipe.train(device, share)
    if share.rank > 0:
        train.report({})
        return
    with tempfile.TemporaryDirectory() as folder:
        save_file(network.cpu().state_dict(), Path(folder) / WEIGHTS)
        train.report({}, checkpoint=train.Checkpoint.from_directory(folder))
