"""The deep-learning core: dataset, encoding, network, loop, search, evaluation. One file a concern."""

import os

# How often a thread of OpenMP (GNU's, which the wheels of PyTorch and LightGBM bring) looks before it sleeps while it
# waits for the others; read once, when either is loaded. By default it looks so long that beside anything that uses a
# core several threads take longer than one.
os.environ.setdefault("GOMP_SPINCOUNT", "300")
