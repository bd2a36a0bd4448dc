"""What a command does before it imports anything else: the package imports this first.

Ctrl-C ends it at once, with what shells report for it and without a traceback. Nothing is imported from the current
folder, neither here, where `python -m` would, nor in processes that are started. In a program that is no command of
rnncheck, nothing of this is done.
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
    options = iter(words[1:])
    for word in options:
        if word in {"-W", "-X"}:
            next(options, "")
        elif word == "-m":
            return next(options, "") == "rnncheck"
        elif not word.startswith("-"):
            return os.path.basename(word) == "rnncheck"  # noqa: PTH119 - pathlib takes its time to import
    return False


def _leave(*_: object) -> None:
    os.write(_STDERR, b"rnncheck: interrupted\n")
    os._exit(INTERRUPTED)


_COMMAND = is_command(sys.orig_argv)
if _COMMAND:
    _STDERR = os.dup(2)  # which is held back as long as a framework is loaded
    signal.signal(signal.SIGINT, _leave)
    os.environ["PYTHONSAFEPATH"] = "1"
    _here = os.getcwd()  # noqa: PTH109 - as above
    if sys.path[0] == _here and not __file__.startswith(_here + os.sep):  # but where the package itself is there
        del sys.path[0]


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
