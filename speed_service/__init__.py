"""The speed service: answers a query with the champion's probability within milliseconds. Deployed alone.

Reading order: ``rsgi`` (entry) -> ``app`` (wiring) -> ``front`` -> ``queries`` (what was asked) -> ``predictor``
(the answer); ``champion`` and ``history`` hold what can change under it, ``watcher`` changes them.
It uses ``include`` for the things that are written once, and never Airflow, Spark or Ray.
"""
