"""Ctrl-C while a command starts or ends: it ends at once, with what shells report for it and without a traceback.

The package imports this first. In a program that is no command of rnncheck, nothing here does anything.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# What shells report for a process that Ctrl-C ended: 128 and the number of SIGINT.
INTERRUPTED = 130


def is_command(words: list[str]) -> bool:
    """Whether the words with which Python was started are a command of rnncheck."""
    module = words[words.index("-m") + 1 :][:1] if "-m" in words else []
    script = [os.path.basename(word) for word in words[1:2]]  # noqa: PTH119 - pathlib takes its time to import
    return "rnncheck" in module + script


def _leave(*_: object) -> None:
    os.write(2, b"rnncheck: interrupted\n")
    os._exit(INTERRUPTED)


_COMMAND = is_command(sys.orig_argv)
if _COMMAND:
    signal.signal(signal.SIGINT, _leave)


@contextmanager
def interruptible(*, at_once: bool = False) -> Iterator[None]:
    """Let Ctrl-C raise a KeyboardInterrupt until the block ends; or end the process at once.

    Frameworks swallow a KeyboardInterrupt while they are imported, or make another error of it.
    """
    if not _COMMAND:
        yield
        return
    handler: Any = _leave if at_once else signal.default_int_handler
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
