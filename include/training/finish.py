"""What comes after a search: the best network's level and temperature, then one last training with the validation days.

The newest days say most about tomorrow, so what was held back to choose with is trained on in the end. It knows the
loop and its material: neither searches nor test days.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray

from include.bundle.bundle import Predictor
from include.training.calibration import fit_temperature
from include.training.loop import Loop, levelled, predict_scores
from include.training.material import Material
from include.training.network import Network
from include.training.recipe import Recipe, Team


@dataclass(frozen=True)
class Finished:
    """The best network as it was validated, and the one that was trained once more with the validation days."""

    validated: Predictor
    final: Predictor


def finish(
    loop: Loop, material: Material, validation_days: NDArray[Any], device: torch.device, team: Team | None = None
) -> Finished:
    """Learn the temperature on the validation days while they are unseen, then train once more with them.

    ``loop`` is a finished one; ``validation_days`` are the validation rows' days. The last training runs on ``device``,
    or on a ``team``.
    """
    best = validated(loop, material, validation_days)
    final = refit(loop, material, device, team, temperature=best.temperature)
    return Finished(best, Predictor(final.cpu(), material.encoders, best.temperature, material.target))


def validated(loop: Loop, material: Material, validation_days: NDArray[Any]) -> Predictor:
    """The network with its best weights, temperature from the validation rows, level from the training rows."""
    best = loop.best_network()
    scores, labels = predict_scores(best, loop.validation), loop.validation.labels.cpu().numpy()
    temperature = fit_temperature(material.target, labels, scores, validation_days)
    best = levelled(best, loop.train, temperature)
    return Predictor(best.cpu(), material.encoders, temperature, material.target)


def refit(
    loop: Loop,
    material: Material,
    device: torch.device,
    team: Team | None = None,
    seed: int | None = None,
    temperature: float = 1.0,
) -> Network:
    """A finished loop's network trained again on both spans, for as long as its best weights had been, and levelled."""
    config = loop.config if seed is None else replace(loop.config, seed=seed)
    recipe = Recipe(loop.network.config, config, loop.progress.best_part, material, temperature)
    if team is None:
        return recipe.train(device)
    # Ray Train takes seconds to import: only where several processes train.
    from include.training.parallel import train_together

    return train_together(recipe, team)
