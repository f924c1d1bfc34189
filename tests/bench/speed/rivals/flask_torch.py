"""Flask under gunicorn, written the way most model services begin: ``gunicorn flask_torch:app``."""

import os

import torch
from flask import Flask, jsonify, request

app = Flask(__name__)
torch.set_num_threads(1)
model = torch.load(os.environ["BENCH_MODEL"], weights_only=False)
model.eval()


@app.post("/predict")
def predict():
    """Probabilities of the rows in the body."""
    body = request.get_json()
    numeric = torch.tensor([[float("nan") if x is None else x for x in row] for row in body["numeric"]])
    category = torch.tensor(body["category"])
    with torch.no_grad():
        probabilities = torch.sigmoid(model(numeric, category))
    return jsonify({"probabilities": probabilities.tolist()})
