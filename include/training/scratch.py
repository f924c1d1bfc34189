"""Arrays that may be larger than memory: plain ones while they are small, memory-mapped files where they are not.

A memory-mapped array looks like any other; the system keeps in memory what is in use and drops the rest. It does not
know what is in the arrays.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from include.settings import SettingError

#: Largest set of arrays that is kept in memory, in MiB. Default: a quarter of the machine's memory, or the container's.
MEMORY_SETTING = "LAMBDA_DL_TRAINING_MEMORY_MIB"
#: Where larger ones lie. Default: the system's folder for temporary files. Trials on other nodes must see it too.
FOLDER_SETTING = "LAMBDA_DL_TRAINING_FOLDER"
MIB = 1 << 20
#: What a container may take at most, as Linux tells it inside: bytes, or "max" (version 1: a very large number).
CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))

#: Shape and type -> an array whose contents are not set yet.
Allocate = Callable[[tuple[int, ...], DTypeLike], NDArray[Any]]


@dataclass(frozen=True)
class Scratch:
    """Where arrays of one training run lie. ``limit`` in bytes, for each set of arrays."""

    folder: Path
    limit: int

    def allocator(self, size: int) -> Allocate:
        """How to make the arrays of a set of ``size`` bytes in all."""
        if size <= self.limit:
            return np.empty
        names = (f"{os.urandom(4).hex()}-{number}.npy" for number in count())
        print(f"{size / MIB:.0f} MiB are more than {self.limit / MIB:.0f}: they lie in {self.folder}", flush=True)
        return lambda shape, dtype: np.lib.format.open_memmap(
            self.folder / next(names), mode="w+", dtype=np.dtype(dtype), shape=shape
        )


@contextmanager
def scratch_from_environment() -> Iterator[Scratch]:
    """A scratch folder by the settings, gone at the end. Raises ``SettingError`` for settings that make no sense."""
    folder = os.environ.get(FOLDER_SETTING) or None
    if folder is not None and not Path(folder).is_dir():
        raise SettingError(f"{FOLDER_SETTING} is {folder!r}, which is no folder: make it, or unset it")
    with tempfile.TemporaryDirectory(prefix="lambda-dl-training-", dir=folder) as own:
        yield Scratch(Path(own), _limit())


def memory(limits: Sequence[Path] = CONTAINER_LIMITS) -> int:
    """How many bytes this process may take: the machine's, or less where one of the files ``limits`` says so."""
    stated = [path.read_text().strip() for path in limits if path.is_file()]
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *(int(text) for text in stated if text.isdigit())])


def _limit() -> int:
    stated = os.environ.get(MEMORY_SETTING)
    if not stated:
        return memory() // 4
    try:
        return int(stated) * MIB
    except ValueError:
        raise SettingError(f"{MEMORY_SETTING} is {stated!r}: give a whole number of MiB") from None


@dataclass(frozen=True)
class Portable:
    """An array on its way to another process: a plain one by value, a memory-mapped one by its file."""

    array: NDArray[Any] | None
    file: str = ""
    dtype: str = ""
    offset: int = 0
    shape: tuple[int, ...] = ()

    @classmethod
    def of(cls, array: NDArray[Any]) -> "Portable":
        """Pack a whole array, or the first rows of one."""
        if not isinstance(array, np.memmap):
            return cls(array)
        array.flush()
        return cls(None, str(array.filename), array.dtype.str, array.offset, array.shape)

    def open(self) -> NDArray[Any]:
        """The array; changes to a memory-mapped one stay in this process."""
        if self.array is not None:
            return self.array
        return np.memmap(self.file, dtype=self.dtype, mode="c", offset=self.offset, shape=self.shape)
