"""The deep-learning core: dataset, encoding, network, loop, search, evaluation. One file a concern."""
