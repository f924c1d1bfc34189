"""Writes the pickled network as ONNX: ``python export_onnx.py network.pt rows.npz network.onnx``.

Runs in the rivals' environment, with the project's Torch behind it. Checked on every row before it is used.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

TOLERANCE = 1e-5


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities in float64."""
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def main(network_path: Path, rows_path: Path, onnx_path: Path) -> None:
    """Export, then compare the probabilities of all rows."""
    network = torch.load(network_path, weights_only=False).eval()
    rows = np.load(rows_path)
    inputs = tuple(torch.from_numpy(rows[name]) for name in ("numeric", "category"))
    count = torch.export.Dim("rows", min=1)
    torch.onnx.export(
        network,
        inputs,
        str(onnx_path),
        input_names=["numeric", "category"],
        output_names=["logit"],
        dynamic_shapes={"numeric": {0: count}, "category": {0: count}},
        external_data=False,
        dynamo=True,
        optimize=True,
        verbose=False,
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(onnx_path), options, providers=["CPUExecutionProvider"])
    (theirs,) = session.run(["logit"], {name: rows[name] for name in ("numeric", "category")})
    with torch.inference_mode():
        ours = network(*inputs).numpy()
    worst = np.abs(sigmoid(theirs) - sigmoid(ours)).max()
    if not worst <= TOLERANCE:
        sys.exit(f"ONNX Runtime's probabilities differ from Torch's by {worst:.1e}")
    print(f"{len(ours)} rows, largest difference in probability {worst:.1e}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
