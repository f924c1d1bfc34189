"""Playing days of facts back into Kafka, as they became known, and asking for predictions while they do.

``timeline`` cuts the days into steps, ``injection`` disturbs them, ``engine`` sends them and asks, ``books`` counts
what came of it from the topics, ``verify`` compares with the batch layer; ``topics`` and ``asking`` are the wires.
Knows no domain: the use case's module ``replay`` gives facts and outcomes.
"""
