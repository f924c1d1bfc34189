"""The folded network answers as the network itself does, wherever a number falls and whatever is missing."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from include.training import folding
from include.training.encoding import CategoryEncoder, Encoders, NumericEncoder
from include.training.folding import FoldedNetwork
from include.training.network import Network, NetworkConfig

CONFIG = NetworkConfig(width=16, layers=2, embedding_width=3, category_width=4)
Columns = dict[str, NDArray[Any]]


def trained(encoders: Encoders, seed: int = 0) -> Network:
    """A network all of whose weights say something, as after training."""
    torch.manual_seed(seed)
    network = Network(encoders, CONFIG).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if any(part in name for part in ("bends", "bias", "layers")):
                weight.normal_(0, 0.3)
    return network


def expected(network: Network, encoders: Encoders, columns: Columns) -> NDArray[np.float64]:
    """The network's own logits."""
    rows = encoders.encode(columns)
    with torch.inference_mode():
        logits = network(torch.from_numpy(rows.numeric), torch.from_numpy(rows.category))
    return logits.double().numpy()


def assert_alike(encoders: Encoders, columns: Columns) -> None:
    network = trained(encoders)
    found = FoldedNetwork(network, encoders).scores(columns)
    np.testing.assert_allclose(found, expected(network, encoders, columns), atol=2e-5)


EDGES = st.lists(st.floats(-50, 50).map(lambda x: round(x, 2)), max_size=9, unique=True).map(sorted)
ENCODERS = st.builds(
    lambda edges, mean, scale: NumericEncoder("x", mean, scale, tuple(edges) if len(edges) > 1 else ()),
    EDGES, st.floats(-5, 5), st.floats(0.5, 4),
)  # fmt: skip
CATEGORY = CategoryEncoder("c", ("a", "b", "ä"))


@settings(max_examples=150)
@given(st.lists(ENCODERS, min_size=1, max_size=4), st.data())
def test_folded_is_alike_at_edges_between_them_beyond_them_and_without_a_value(
    numeric: list[NumericEncoder], data: st.DataObject
) -> None:
    named = tuple(NumericEncoder(f"x{i}", e.mean, e.scale, e.edges) for i, e in enumerate(numeric))
    count = data.draw(st.integers(0, 6))
    columns: Columns = {"c": np.array(data.draw(st.lists(CATEGORIES, min_size=count, max_size=count)), dtype=object)}
    for encoder in named:
        ends = [encoder.mean + end * encoder.scale for end in (-10, -2.5, 2.5, 10)]
        places = st.sampled_from([*encoder.edges, *ends, np.nan, np.inf, -np.inf, 1e12]) | st.floats(-60, 60)
        columns[encoder.name] = np.array(data.draw(st.lists(places, min_size=count, max_size=count)))
    assert_alike(Encoders(named, (CATEGORY,)), columns)


CATEGORIES = st.sampled_from([None, "a", "b", "ä", "never seen"])


@pytest.mark.parametrize(
    "encoders",
    [
        Encoders((), (CATEGORY, CategoryEncoder("d", ()))),
        Encoders((NumericEncoder("x", 1.0, 2.0, (0.0, 1.0, 4.0)), NumericEncoder("y", 0.0, 1.0, ())), ()),
    ],
    ids=["categories alone", "numbers alone"],
)
def test_a_network_may_lack_one_kind_of_feature(encoders: Encoders) -> None:
    columns = {"x": np.array([0.5, np.nan]), "y": np.array([3.0, np.nan])}
    texts = {"c": np.array(["a", None], dtype=object), "d": np.array(["z", None], dtype=object)}
    assert_alike(encoders, {**columns, **texts})


def test_edges_beyond_the_clipping_bend_nothing() -> None:
    encoder = NumericEncoder("x", 0.0, 1.0, (-30.0, -20.0, 0.0, 20.0, 30.0))
    assert_alike(Encoders((encoder,), (CATEGORY,)), {"x": np.linspace(-40, 40, 33), "c": np.array(["a"] * 33, object)})


@pytest.mark.parametrize("block", [7, 100, 300])
def test_a_row_answers_alone_as_among_others(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "BLOCK_ROWS", block)
    random = np.random.default_rng(0)
    encoders = Encoders(
        tuple(NumericEncoder.fit(f"x{n}", random.normal(size=200), bins=24) for n in range(20)), (CATEGORY,)
    )
    folded = FoldedNetwork(trained(encoders), encoders)
    columns: Columns = {f"x{n}": random.normal(size=300) for n in range(20)}
    columns["c"] = np.array(["a", "b", None] * 100, dtype=object)
    together = folded.scores(columns)
    alone = [folded.scores({name: values[n : n + 1] for name, values in columns.items()})[0] for n in range(300)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert together.std() > 0.01


def test_an_absent_column_is_an_error() -> None:
    encoders = Encoders((NumericEncoder("x", 0.0, 1.0, ()),), (CATEGORY,))
    with pytest.raises(KeyError, match="x"):
        FoldedNetwork(trained(encoders), encoders).scores({"c": np.array(["a"], dtype=object)})
