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
    """Give a function like `map` that uses every core."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield pool.map
