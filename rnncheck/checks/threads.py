"""Threads: the products of several blocks run side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

# Runs a function over many items, results in order: `map`, or one that uses several threads.
Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@contextmanager
def threads() -> Iterator[Mapper]:
    """Give a function like `map` that uses the cores which matrix products leave to others."""
    # Each of NumPy's products takes every core unless it is told not to. Threads beside such products wait for each
    # other: a check of an LSTM took twice as long with a pool as without.
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        yield map
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield pool.map
