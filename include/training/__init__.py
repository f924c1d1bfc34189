"""The deep-learning core: dataset, encoding, network, loop, search, evaluation. One file a concern."""

import os

# How often a thread of OpenMP (GNU's, which the wheels of PyTorch and LightGBM bring) looks before it sleeps while it
# waits for the others; read once, when either is loaded. By default it looks for milliseconds: beside anything that
# uses a core the last training and LightGBM took two and 1.5 times as long, alone they lose a seventh and nothing.
os.environ.setdefault("GOMP_SPINCOUNT", "300")
