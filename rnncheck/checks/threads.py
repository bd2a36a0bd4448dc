"""Two threads, each on a core of its own with one BLAS thread: small products run side by side, not in turns."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")


Result = TypeVar("Result")


_WORKERS = min(2, os.cpu_count() or 1)


# glibc's numbers for what `mallopt` sets, with what they are set to, in bytes.
_MALLOPT = {"M_TRIM_THRESHOLD": (-1, 2**28), "M_MMAP_THRESHOLD": (-3, 2**25)}


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@cache
def _pool() -> ThreadPoolExecutor:
    """The threads, made once: new ones would begin with cold memory."""
    return ThreadPoolExecutor(_WORKERS)


@cache
def _keep_memory() -> None:
    """Have the C library keep the memory that arrays give back, for the next ones.

    Otherwise it goes back to the system and comes again page by page, which takes longer than the arithmetic on it.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None  # it is glibc's
    if set_option is not None:
        for option, value in _MALLOPT.values():
            set_option(option, value)


def _cores() -> list[int | None]:
    """Return a core for each thread, the caller's own first; None where the system leaves no choice."""
    if not hasattr(os, "sched_setaffinity"):  # it is Linux'
        return [None] * _WORKERS
    allowed, here = sorted(os.sched_getaffinity(0)), ctypes.CDLL(None).sched_getcpu()
    first = allowed.index(here) if here in allowed else 0
    return [allowed[(first + index) % len(allowed)] for index in range(_WORKERS)]


@contextmanager
def _on(core: int | None) -> Iterator[None]:
    """Keep this thread on a core while it works.

    Threads that hand the interpreter's lock to each other are woken on each other's core, and may share it for many
    milliseconds while another one idles.
    """
    if core is None:
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def threads() -> Iterator[Callable[[Callable[[Item], Result], Iterable[Item]], Iterator[Result]]]:
    """Give a function like `map` that uses the cores; inside, a matrix product uses one thread.

    Each thread takes every second item, and results come in the order of the items when all are there: a
    thread that waited for each of them would only be in the way of those that work.
    """

    def mapper(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        def work(share: list[Item], core: int | None) -> list[Result]:
            with _on(core):
                return [function(item) for item in share]

        waiting = list(items)
        if len(waiting) == 1:
            return iter([function(waiting[0])])
        shares = [waiting[first::_WORKERS] for first in range(_WORKERS)]
        running = [_pool().submit(work, share, core) for share, core in zip(shares, _cores(), strict=True)]
        done = [future.result() for future in running]
        return iter([done[index % _WORKERS][index // _WORKERS] for index in range(len(waiting))])

    _keep_memory()
    with _blas().limit(limits=1, user_api="blas"):
        yield mapper
