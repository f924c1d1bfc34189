"""What a training run is computed by: code, packages, Python, and the machine as far as it can change a weight.

Equal data, configuration and seed give equal weights where all of it is equal too. It knows neither data nor models.
"""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from include.training.loop import best_device

PACKAGES = ("torch", "ray", "optuna", "numpy", "safetensors", "lightgbm", "scikit-learn", "matplotlib", "deltalake")


def provenance(workers: int) -> dict[str, Any]:
    """For a bundle's lineage. ``workers`` is how many processes shared the last training."""
    return {
        "code_version": code_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "python": sys.version.split()[0],
        "machine": {"device": _device(), "threads": torch.get_num_threads(), "workers": workers},
    }


def code_version() -> str:
    """The git commit of the running code, or ``LAMBDA_DL_CODE_VERSION``, or ``unknown``."""
    stated = os.environ.get("LAMBDA_DL_CODE_VERSION")
    if stated:
        return stated
    try:
        command = ["git", "rev-parse", "HEAD"]
        folder = Path(__file__).resolve().parent
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _device() -> str:
    """The GPU's name, or the CPU's vector instructions, by which Torch chooses its kernels."""
    device = best_device()
    return (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU {torch.backends.cpu.get_cpu_capability()}"
    )
