"""Two threads, each with one BLAS thread: many small products run side by side instead of in turns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import islice
from typing import TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")

_WORKERS = min(2, os.cpu_count() or 1)

# Tasks handed out ahead of the results that were taken, for each thread: enough to keep it busy.
_AHEAD = 4


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

    Results come in the order of the items, and few of them wait at a time, whatever the number of items.
    """
    pool = _pool()
    with _blas().limit(limits=1, user_api="blas"):

        def mapper(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
            waiting = iter(items)
            running = [pool.submit(function, item) for item in islice(waiting, _WORKERS * _AHEAD)]
            while running:
                yield running.pop(0).result()
                running.extend(pool.submit(function, item) for item in islice(waiting, 1))

        yield mapper
