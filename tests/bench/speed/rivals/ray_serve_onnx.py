"""Ray Serve with ONNX Runtime: ``python ray_serve_onnx.py`` starts Ray on this machine, then serves until stopped."""

import os
import signal

import numpy as np
import onnxruntime as ort
import ray
from ray import serve
from starlette.requests import Request

QUIET = {"enable_access_log": False, "log_level": "WARNING"}


@serve.deployment(
    num_replicas=int(os.environ.get("BENCH_WORKERS", "1")), max_ongoing_requests=128, logging_config=QUIET
)
class Predictor:
    """The network, in one session a replica."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])

    async def __call__(self, request: Request) -> dict[str, list[float]]:
        """Probabilities of the rows in the body."""
        rows = await request.json()
        logits = await self.compute(np.array(rows["numeric"], np.float32), np.array(rows["category"], np.int64))
        return {"probabilities": (1 / (1 + np.exp(-logits))).tolist()}

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0)
    async def compute(self, numeric: list[np.ndarray], category: list[np.ndarray]) -> list[np.ndarray]:
        """The logits of several requests that wait together."""
        inputs = {"numeric": np.concatenate(numeric), "category": np.concatenate(category)}
        (logits,) = self.session.run(["logit"], inputs)
        return np.split(logits, np.cumsum([len(one) for one in category])[:-1])


if __name__ == "__main__":
    ray.init(
        num_cpus=int(os.environ.get("BENCH_WORKERS", "1")),
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        logging_level="warning",
    )
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(os.environ["BENCH_PORT"])},
        logging_config=QUIET,
    )
    serve.run(Predictor.bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()
