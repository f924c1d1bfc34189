"""LitServe with ONNX Runtime: ``python litserve_onnx.py``. Its inference process is apart from its HTTP process."""

import os

import litserve as ls
import numpy as np
import onnxruntime as ort


class Predictor(ls.LitAPI):
    """Decode, predict, encode: LitServe's three steps."""

    def setup(self, device: str) -> None:
        """One session a worker."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request):
        """JSON to arrays."""
        return {
            "numeric": np.array(request["numeric"], np.float32),
            "category": np.array(request["category"], np.int64),
        }

    def predict(self, inputs):
        """Arrays to probabilities."""
        (logits,) = self.session.run(["logit"], inputs)
        return 1 / (1 + np.exp(-logits))

    def encode_response(self, output):
        """Probabilities to JSON."""
        return {"probabilities": output.tolist()}


if __name__ == "__main__":
    server = ls.LitServer(
        Predictor(), accelerator="cpu", workers_per_device=int(os.environ.get("BENCH_WORKERS", "1")), timeout=False
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
