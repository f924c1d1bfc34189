"""FastAPI under uvicorn with ONNX Runtime: ``uvicorn fastapi_onnx:app --loop uvloop --http httptools``.

The handler is a coroutine and runs the network itself: quicker than a thread pool for a network this small.
"""

import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI
from pydantic import BaseModel

options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
app = FastAPI()


class Rows(BaseModel):
    """Rows for the network; null is a missing number."""

    numeric: list[list[float | None]]
    category: list[list[int]]


class Answer(BaseModel):
    """A probability for each row."""

    probabilities: list[float]


@app.post("/predict")
async def predict(rows: Rows) -> Answer:
    """Probabilities of the rows in the body."""
    inputs = {"numeric": np.array(rows.numeric, np.float32), "category": np.array(rows.category, np.int64)}
    (logits,) = session.run(["logit"], inputs)
    return Answer(probabilities=(1 / (1 + np.exp(-logits))).tolist())
