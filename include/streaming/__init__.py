"""The speed layer's vocabulary: the messages between systems, and the fold that counts each fact once."""
