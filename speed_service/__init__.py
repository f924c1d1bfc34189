"""The speed service: answers a query with the champion's prediction within milliseconds. Deployed alone.

Reading order: ``__main__`` and ``asgi`` (entry) -> ``app`` (wiring) -> ``protocol`` -> ``front`` -> ``batcher`` ->
``queries`` (what was asked) -> ``predictor`` (the answer); ``champion`` and ``history`` hold what can change under it,
``watcher`` changes them.
It uses ``include`` for the things that are written once, and never Airflow, Spark or Ray.
"""
