"""The embedded default: real servers as plain processes, without Docker and without root.

Knows how to install, start, check and stop the servers that the rest of the project talks to over open protocols.
Does not know what flows through them: no DAG, no Spark job and no model is imported here.
"""
