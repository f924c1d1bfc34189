"""Rows per second of ONNX Runtime in process, one thread: ``python in_process.py network.onnx rows.npz 512 5``."""

import sys
import time

import numpy as np
import onnxruntime as ort


def main(onnx_path: str, rows_path: str, batch: int, seconds: float) -> None:
    """Run the same batch until the time is over."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(onnx_path, options, providers=["CPUExecutionProvider"])
    rows = np.load(rows_path)
    inputs = {name: rows[name][:batch] for name in ("numeric", "category")}
    for _ in range(20):
        session.run(["logit"], inputs)
    runs, started = 0, time.monotonic()
    while (passed := time.monotonic() - started) < seconds:
        session.run(["logit"], inputs)
        runs += 1
    print(runs * batch / passed)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
