"""A trained network folded for inference: the same scores from raw feature columns, in half the time and less.

Each number's encoding is a line bent at quantiles, each category's a table, and the first layer is linear: so what a
feature adds to that layer's output runs straight between *knots* and can be tabulated there. One weighted sum of table
rows (two neighbouring knots per number, one row per category) stands for encoding, embedding and first layer.
Interpolation is in the features' own units, in double precision. It knows the network's and the encoders' parts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from include.training.encoding import CLIP, FIRST_VALUE, MISSING, RARE, Encoders, NumericEncoder
from include.training.network import LINE_END, Network

Doubles = NDArray[np.float64]
#: Rows that are answered at once: on the way a row takes some twenty times what its columns do.
BLOCK_ROWS = 1 << 13


@dataclass(frozen=True)
class Knots:
    """Where each number's line bends: one block of ``size`` (a power of two) per feature, its last row for missing.

    All arrays are flat, ``features * size`` long. ``bounds[i]`` is the least value beyond row ``i``; ``start`` and
    ``inverse_width`` place a value between row ``i`` and the next (0: the line ends here).
    """

    size: int
    bounds: Doubles
    start: Doubles
    inverse_width: Doubles
    first: NDArray[np.int64]

    @classmethod
    def of(cls, places: Sequence[Doubles]) -> "Knots":
        """The knots of every feature, rising."""
        longest = max((len(place) for place in places), default=0)
        size = 1 << longest.bit_length()  # at least one more than the longest
        bounds = np.full((len(places), size), np.inf)
        start, inverse_width = np.zeros((len(places), size)), np.zeros((len(places), size))
        for number, place in enumerate(places):
            width = np.diff(place)
            bounds[number, : len(width)] = place[1:]
            start[number, : len(place)] = place
            inverse_width[number, : len(width)] = np.divide(1.0, width, out=np.zeros_like(width), where=width > 0)
        first = np.arange(len(places), dtype=np.int64) * size
        return cls(size, bounds.ravel(), start.ravel(), inverse_width.ravel(), first)

    def locate(self, values: Doubles) -> tuple[NDArray[np.int64], Doubles]:
        """Row below each value, and how far on the way to the next one it lies (0 to 1); shapes as ``values``."""
        missing = ~np.isfinite(values)
        some = bool(missing.any())
        sought = np.where(missing, np.inf, values) if some else values
        row = np.empty(values.shape, dtype=np.int64)
        row[:] = self.first
        step = self.size >> 1
        while step:
            row += step * (self.bounds.take(row + (step - 1)) <= sought)
            step >>= 1
        known = np.where(missing, 0.0, values) if some else values
        way = (known - self.start.take(row)) * self.inverse_width.take(row)
        return row, np.clip(way, 0.0, 1.0, out=way)


class FoldedNetwork:
    """What a network answers, folded once; later changes of its weights do not show."""

    def __init__(self, network: Network, encoders: Encoders) -> None:
        self._numeric = tuple(encoder.name for encoder in encoders.numeric)
        self._category = tuple(encoder.name for encoder in encoders.category)
        self._knots = Knots.of([_places(encoder) for encoder in encoders.numeric])
        self._codes: list[tuple[dict[str | None, int], int]] = []
        tables = _numeric_rows(network, encoders.numeric, self._knots)
        after = len(self._numeric) * self._knots.size
        for encoder, rows in zip(encoders.category, _category_rows(network), strict=True):
            codes: dict[str | None, int] = {None: after + MISSING}
            codes.update({value: after + FIRST_VALUE + code for code, value in enumerate(encoder.values)})
            self._codes.append((codes, after + RARE))
            tables.append(rows)
            after += len(rows)
        width = network.config.width
        # One more row, of nothing: the neighbour of the very last one.
        self._table = torch.cat([*tables, torch.zeros(1, width, dtype=torch.float64)]).float().contiguous()
        weights = {name: weight.clone() for name, weight in network.state_dict().items()}
        self._bias = weights["stem.bias"]
        layers = (f"layers.{number}" for number in range(network.config.layers))
        self._layers = [(weights[f"{name}.weight"].T, weights[f"{name}.bias"]) for name in layers]
        self._head = (weights["head.weight"][0], weights["head.bias"])

    def scores(self, columns: Mapping[str, NDArray[Any]]) -> Doubles:
        """One logit a row, float64 ``[n]``; infinities count as missing. Raises ``KeyError`` on an absent column."""
        count = len(next(iter(columns.values())))
        if not count:
            return np.empty(0)  # embedding_bag gives one sum for no bags
        if count <= BLOCK_ROWS:
            return self._block(columns, count)
        stored, starts = dict(columns), range(0, count, BLOCK_ROWS)
        blocks = ({name: values[at : at + BLOCK_ROWS] for name, values in stored.items()} for at in starts)
        return np.concatenate([self.scores(block) for block in blocks])

    def _block(self, columns: Mapping[str, NDArray[Any]], count: int) -> Doubles:
        rows, weights = self._summands(columns, count)
        with torch.inference_mode():
            offsets = torch.arange(0, rows.size, rows.shape[1])
            flat = torch.from_numpy(rows.reshape(-1)), offsets, False, 0, False, torch.from_numpy(weights.reshape(-1))
            summed = torch.embedding_bag(self._table, *flat, False)[0]
            return self._deeper(summed).double().numpy()

    def _summands(
        self, columns: Mapping[str, NDArray[Any]], count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The table's rows that each query adds up, and their weights."""
        numbers, categories = len(self._numeric), len(self._category)
        rows = np.empty((count, 2 * numbers + categories), dtype=np.int64)
        weights = np.ones((count, 2 * numbers + categories), dtype=np.float32)
        if numbers:
            values = np.array([columns[name] for name in self._numeric], dtype=np.float64).T
            row, way = self._knots.locate(np.ascontiguousarray(values))
            rows[:, :numbers] = row
            np.add(row, 1, out=rows[:, numbers : 2 * numbers])
            weights[:, numbers : 2 * numbers] = way
            weights[:, :numbers] -= weights[:, numbers : 2 * numbers]
        for number, (name, (codes, rare)) in enumerate(zip(self._category, self._codes, strict=True), 2 * numbers):
            rows[:, number] = [codes.get(value, rare) for value in columns[name].tolist()]
        return rows, weights

    def _deeper(self, summed: Tensor) -> Tensor:
        x = summed.add_(self._bias).relu_()
        for weight, bias in self._layers:
            x = torch.addmm(bias, x, weight).relu_()
        weight, bias = self._head
        return torch.addmv(bias, x, weight)


def _places(encoder: NumericEncoder) -> Doubles:
    """A number's knots in its own units: its edges, as far as values are not clipped, and the ends of its line."""
    low, line_from, line_to, high = (encoder.mean + end * encoder.scale for end in (-CLIP, -LINE_END, LINE_END, CLIP))
    clipped = np.clip(np.array(encoder.edges), low, high)
    return np.unique(np.array([*clipped, line_from, line_to], dtype=np.float64))


def _numeric_rows(network: Network, encoders: Sequence[NumericEncoder], knots: Knots) -> list[Tensor]:
    """Per number, what it adds to the first layer's output at each of its knots, and when missing."""
    numbers, width = network.numbers, network.config.embedding_width
    found = []
    for number, encoder in enumerate(encoders):
        at = torch.from_numpy((_places(encoder) - encoder.mean) / encoder.scale)
        line = at.clamp(-LINE_END, LINE_END)[:, None] * numbers.slope[number].double() + numbers.bias[number].double()
        # In the network's own numbers, so that bins of no width, which bend nothing, are the same ones.
        steps = (at[:, None] - numbers.lower[number].double()) * numbers.inverse_width[number].double()
        bends = steps.clamp(0.0, 1.0) @ numbers.bends[number].double()
        block = torch.zeros(knots.size, width, dtype=torch.float64)
        block[: len(at)] = line + bends
        block[-1] = numbers.missing[number]
        part = network.stem.weight[:, number * width : (number + 1) * width].double()
        found.append((block @ part.T).detach())
    return found


def _category_rows(network: Network) -> list[Tensor]:
    """Per category, what each of its codes adds to the first layer's output."""
    at = len(network.numbers.slope) * network.config.embedding_width
    found = []
    for table in network.categories:
        weight = table.weight
        assert isinstance(weight, Tensor)
        part = network.stem.weight[:, at : at + weight.shape[1]].double()
        found.append((weight.double() @ part.T).detach())
        at += weight.shape[1]
    return found
