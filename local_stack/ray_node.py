"""`ray start` for a node that joins a head on loopback: `python -m local_stack.ray_node start --address=...`.

Ray has one switch for two things: whether it replaces 127.0.0.1 by the machine's outer address, and whether a second
node may join. Here nothing leaves loopback and nodes join: this program alone lets them, its children see the switch
as it is. Knows nothing about the stack.
"""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace
from typing import Any


def main() -> Any:
    """Ray's own command line."""
    scripts: Any = importlib.import_module("ray.scripts.scripts")
    scripts.ray_constants = SimpleNamespace(**{**vars(scripts.ray_constants), "ENABLE_RAY_CLUSTER": True})
    return scripts.main()


if __name__ == "__main__":
    sys.exit(main())
