"""How much memory a run may take, and how to write it."""

from __future__ import annotations

import math
import os


def half_of_memory() -> int:
    """Return half of this machine's memory in bytes: what a case or random inputs may take."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def readable_bytes(count: float) -> str:
    """Write a number of bytes with a binary unit."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    power = min(int(math.log(max(count, 1), 1024)), len(units) - 1)
    size = count / 1024**power
    return f"{size:.0f} {units[power]}" if size >= 1000 else f"{size:.3g} {units[power]}"
