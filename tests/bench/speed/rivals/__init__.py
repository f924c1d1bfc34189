"""The other ways to serve the network, one file each, as a user of that framework would write it.

They are handed the network's rows ready-made (our service computes them from its tiles), and only parse, run the
network and answer. They run in an environment of their own, and none imports another or this project's service.
"""
