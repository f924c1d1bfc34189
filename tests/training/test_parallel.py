"""Two processes that share every batch take the steps of one; real Ray Train, Gloo on CPUs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from include.training.loop import LoopConfig, predict
from include.training.network import NetworkConfig
from include.training.parallel import train_together
from include.training.recipe import Recipe, Team
from tests.training.synthetic import days, material, rows

DATA = rows(day_count=4, per_day=500)
MATERIAL = material(DATA.between(*days(4)[:3:2]), DATA.between(days(4)[3], days(4)[3]))
#: Without anything random in a step, halves of a batch give the same step as the whole.
PLAIN = LoopConfig(epochs=2, batch_size=128, numeric_dropout=0.0, category_dropout=0.0, seed=3)
RECIPE = Recipe(NetworkConfig(width=16, layers=1, dropout=0.0), PLAIN, 4, MATERIAL)


@pytest.mark.drill
def test_two_workers_train_the_network_of_one(local_ray: None, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    _, validation = MATERIAL.tensors(cpu)
    alone = predict(RECIPE.train(cpu), validation)
    together = predict(train_together(RECIPE, Team(2, str(tmp_path), None)), validation)
    np.testing.assert_allclose(together, alone, atol=1e-4)
    other = predict(replace(RECIPE, loop=replace(PLAIN, seed=4)).train(cpu), validation)
    assert np.abs(other - alone).max() > 1e-2
