"""The log of predictions, and what it says about the models: live quality, parity and freshness. No Spark here."""
