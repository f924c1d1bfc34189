"""Ray Serve with ONNX Runtime: ``python ray_serve_onnx.py`` starts Ray on this machine, then serves until stopped."""

import os
import signal

import numpy as np
import onnxruntime as ort
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=int(os.environ.get("BENCH_WORKERS", "1")), max_ongoing_requests=128)
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
        inputs = {"numeric": np.array(rows["numeric"], np.float32), "category": np.array(rows["category"], np.int64)}
        (logits,) = self.session.run(["logit"], inputs)
        return {"probabilities": (1 / (1 + np.exp(-logits))).tolist()}


if __name__ == "__main__":
    ray.init(
        num_cpus=int(os.environ.get("BENCH_WORKERS", "1")),
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        logging_level="warning",
    )
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(os.environ["BENCH_PORT"])},
        logging_config={"enable_access_log": False},
    )
    serve.run(Predictor.bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()
