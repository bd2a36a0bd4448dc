"""Two threads, each with one BLAS thread: many small products run side by side instead of in turns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")

_WORKERS = min(2, os.cpu_count() or 1)


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@cache
def _pool() -> ThreadPoolExecutor:
    """The threads, made once: new ones would begin with cold memory."""
    return ThreadPoolExecutor(_WORKERS)


@contextmanager
def threads() -> Iterator[Callable[[Callable[[Item], Result], Iterable[Item]], Iterator[Result]]]:
    """Give a function like `map` that uses the cores; inside, a matrix product uses one thread.

    Each thread takes every second item, and results come in the order of the items when all are there: a
    thread that waited for each of them would only be in the way of those that work.
    """

    def mapper(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        waiting = list(items)
        if len(waiting) == 1:
            return iter([function(waiting[0])])
        shares = [waiting[first::_WORKERS] for first in range(_WORKERS)]
        running = [_pool().submit(lambda share: [function(item) for item in share], share) for share in shares]
        done = [future.result() for future in running]
        return iter([done[index % _WORKERS][index // _WORKERS] for index in range(len(waiting))])

    with _blas().limit(limits=1, user_api="blas"):
        yield mapper
