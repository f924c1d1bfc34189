"""Answering many rows takes the memory of a batch, however many they are; measured in a process of its own."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from include.target import BINARY
from include.training.encoding import CategoryEncoder, Encoded, Encoders, NumericEncoder
from include.training.loop import EVALUATION_BATCH, Tensors, predict_scores
from include.training.network import Network, NetworkConfig

NUMBERS, CATEGORIES = 71, 5
ROWS = 1_000_000
#: Joined from parts, which kept the memory behind them from use, they took 400 to 800 MiB.
MOST_MIB = 100


def network() -> Network:
    edges = tuple(np.linspace(-2.0, 2.0, 25))
    vocabulary = tuple(f"value {number}" for number in range(160))
    numeric = tuple(NumericEncoder(f"number {i}", 0.0, 1.0, edges) for i in range(NUMBERS))
    category = tuple(CategoryEncoder(f"category {i}", vocabulary) for i in range(CATEGORIES))
    return Network(Encoders(numeric, category), NetworkConfig())


def grown() -> int:
    """How much the process grows while it answers the rows, after it has answered some, MiB."""
    torch.set_num_threads(1)
    encoded = Encoded(np.ones((ROWS, NUMBERS), np.float32), np.ones((ROWS, CATEGORIES), np.int64))
    rows = Tensors.of(encoded, np.ones(ROWS, np.float32), BINARY, torch.device("cpu"))
    asked = network()
    predict_scores(asked, rows.span(0, 10 * EVALUATION_BATCH))
    before = most()
    assert len(predict_scores(asked, rows)) == ROWS
    return most() - before


def most() -> int:
    """The most that this process has had in memory, MiB. What ``getrusage`` says begins at its parent's."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) >> 10


def test_answers_for_many_rows_take_the_memory_of_a_batch() -> None:
    done = subprocess.run([sys.executable, "-m", __name__], capture_output=True, text=True, check=True)
    assert int(done.stdout) < MOST_MIB


if __name__ == "__main__":
    print(grown())
