"""The network's first configuration and what the search varies around it: small, and in small steps.

A day has 24 rows, a year 8,600; a first model after some weeks must come from some hundred.
"""

from include.search import Choice, SearchSpace, Uniform

SEARCH = SearchSpace(
    fresh={
        "width": Choice((32, 64, 96)),
        "layers": Choice((1, 2)),
        "embedding_width": Choice((4,)),
        "dropout": Uniform(0.0, 0.3),
        "learning_rate": Uniform(1e-3, 8e-3, log=True),
        "weight_decay": Uniform(0.1, 1.6, log=True),
        "numeric_dropout": Uniform(0.0, 0.1),
        "batch_size": Choice((32, 64, 128)),
    },
    first={
        "width": 64,
        "layers": 2,
        "embedding_width": 4,
        "dropout": 0.1,
        "learning_rate": 4e-3,
        "weight_decay": 0.5,
        "numeric_dropout": 0.05,
        "batch_size": 32,
    },
)
