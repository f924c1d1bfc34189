"""The one kind of error a person sees from this package: a single line that says what to do.

Everything that can go wrong outside our code (missing tool, taken port, full disk, broken download) is raised as
`StackError`; the command line prints it and exits non-zero. Knows nothing about the servers.
"""

from __future__ import annotations

import errno

#: What a folder says that is not there, not ours or full, and not what a server that is away says.
OF_THE_DISK = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


class StackError(Exception):
    """A fault that a person can do something about; its text is one line."""

    def __init__(self, what: str, do: str) -> None:
        super().__init__(f"{_one_line(what)}: {_one_line(do)}")
        self.what = what
        self.do = do


def in_words(fault: StackError | OSError) -> str:
    """The line that a person reads; what the disk refuses is told with what to do about it."""
    if isinstance(fault, OSError) and fault.errno in OF_THE_DISK:
        return f"{fault}: make the folder writable or free some space, then run it again"
    return str(fault)


def _one_line(text: str) -> str:
    return " ".join(text.split())
