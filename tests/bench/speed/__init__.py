"""How fast the speed layer is, beside other ways to serve the same network: ``make bench-speed``.

    python -m tests.bench.speed [--seconds 5] [--rounds 3] [--only http,swap,kafka]

Reading order: ``__main__`` (what is run) -> ``material`` (weights, tiles, requests) -> ``servers`` (who answers: ours
by ``world``, and ``rivals/``) -> ``load`` (the generator) -> ``http_path``, ``swap``, ``kafka_path`` (the three
measurements) -> ``report``. Nothing asserts a time; what is asserted is that every answer is right.
"""
