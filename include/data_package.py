"""Where an installed Python package keeps its data: found by path, never imported, since only its files are wanted.

It does not know what the data is about.
"""

import importlib.util
from pathlib import Path


def data_folder_of(package: str) -> Path:
    """The folder ``data`` of an installed package; raises ``FileNotFoundError`` if the package is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"the package {package} is not installed: install requirements.txt")
    return Path(spec.origin).parent / "data"
