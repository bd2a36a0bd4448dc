"""How much memory a run may take."""

from __future__ import annotations

import math
import os

from rnncheck.errors import InputError

# The most bytes that the content of one file may have.
MEMORY = 4 << 30


def most_unpacked(size: int) -> int:
    """Return how many bytes a file of so many bytes may unpack to, over all that is in it."""
    return min(MEMORY, max(128 << 20, 32 * size))


def check_memory(got: str, needed: int) -> None:
    """Refuse what needs more bytes than half of this machine's memory; `got` is the beginning of the message."""
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if needed > most:
        raise InputError(
            f"{got} {readable_bytes(needed)}; expected at most {readable_bytes(most)}, half of this machine's "
            "memory. Use smaller sizes."
        )


def readable_bytes(count: float) -> str:
    """Write a number of bytes with a binary unit."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    power = min(int(math.log(max(count, 1), 1024)), len(units) - 1)
    size = count / 1024**power
    return f"{size:.0f} {units[power]}" if size >= 1000 else f"{size:.3g} {units[power]}"
