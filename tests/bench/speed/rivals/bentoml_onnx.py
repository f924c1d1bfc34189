"""BentoML with ONNX Runtime: ``bentoml serve bentoml_onnx:Predictor``.

Without its adaptive batching: that takes one parameter, a list with an object a row, and was slower with all requests.
"""

import os

import bentoml
import numpy as np
import onnxruntime as ort


@bentoml.service(
    workers=int(os.environ.get("BENCH_WORKERS", "1")),
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Predictor:
    """The network, in one session a worker."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])

    @bentoml.api
    async def predict(self, numeric: list[list[float | None]], category: list[list[int]]) -> dict[str, list[float]]:
        """Probabilities of the rows in the body."""
        inputs = {"numeric": np.array(numeric, np.float32), "category": np.array(category, np.int64)}
        (logits,) = self.session.run(["logit"], inputs)
        return {"probabilities": (1 / (1 + np.exp(-logits))).tolist()}
