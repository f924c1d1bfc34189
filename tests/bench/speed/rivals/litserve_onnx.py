"""LitServe with ONNX Runtime: ``python litserve_onnx.py``. Its inference process is apart from its HTTP process.

Requests that wait there together are computed together; none is made to wait for others.
"""

import os

import litserve as ls
import numpy as np
import onnxruntime as ort


class Predictor(ls.LitAPI):
    """Decode, batch, predict, unbatch, encode: LitServe's steps."""

    def setup(self, device: str) -> None:
        """One session a worker."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request):
        """JSON to arrays."""
        numeric, category = np.array(request["numeric"], np.float32), np.array(request["category"], np.int64)
        return {"numeric": numeric, "category": category}

    def batch(self, inputs):
        """The rows of several requests below each other, and where each begins."""
        starts = np.cumsum([len(one["category"]) for one in inputs])[:-1]
        return {name: np.concatenate([one[name] for one in inputs]) for name in ("numeric", "category")}, starts

    def unbatch(self, output):
        """Each request's part."""
        probabilities, starts = output
        return np.split(probabilities, starts)

    def predict(self, batch):
        """Arrays to probabilities."""
        inputs, starts = batch
        (logits,) = self.session.run(["logit"], inputs)
        return 1 / (1 + np.exp(-logits)), starts

    def encode_response(self, output):
        """Probabilities to JSON."""
        return {"probabilities": output.tolist()}


if __name__ == "__main__":
    workers, port = int(os.environ.get("BENCH_WORKERS", "1")), int(os.environ["BENCH_PORT"])
    api = Predictor(max_batch_size=64, batch_timeout=0.0)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=workers, timeout=False)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning", access_log=False)
