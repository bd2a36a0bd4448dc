"""What is known of an option of a Case, told once: its default, its choices, its help, and where it applies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any


@dataclass(frozen=True)
class Place:
    """Where an option applies; a case elsewhere keeps its default."""

    has: Callable[[Any], bool]  # whether a case has the option
    where: str  # what such a case has, for messages


@dataclass(frozen=True)
class Option:
    """What is known of an option."""

    help: str  # for the command line
    accepts: Callable[[Any], bool]  # whether a value is one that the option takes
    expected: str  # which values it takes, for messages
    choices: tuple[Any, ...] = ()  # all of these values, where they can be listed
    place: Place | None = None  # None for everywhere


def choice(default: str, text: str, choices: Iterable[str], place: Place | None = None) -> Any:
    """Return a field that is one of several words; the help lists them unless they are many."""
    words = tuple(choices)
    text = f"{text}: {', '.join(words)}" if len(words) < 10 else text
    return _field(
        default, text, lambda value: isinstance(value, str) and value in words, f"one of {', '.join(sorted(words))}",
        words, place,
    )  # fmt: skip


def flag(default: bool, text: str, place: Place | None = None) -> Any:
    """Return a field that is on or off."""
    # 0 and 1 are equal to False and True, but no flags.
    return _field(default, text, lambda value: isinstance(value, bool), "one of False, True", (False, True), place)


def whole(default: int, text: str, place: Place | None = None, *, least: int = 1, most: float = math.inf) -> Any:
    """Return a field that is a whole number."""

    def accepts(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    up = "up" if most == math.inf else f"to {most}"
    return _field(default, text, accepts, f"a whole number from {least} {up}", (), place)


def number(default: float | None, text: str, most: float = math.inf) -> Any:
    """Return a field that is a finite number from 0 up; None where that is the default."""

    def accepts(value: Any) -> bool:
        in_range = isinstance(value, Real) and math.isfinite(value) and 0.0 <= float(value) <= most
        return in_range or value is default

    return _field(
        default, text, accepts, "a finite number from 0 up" if most == math.inf else f"a number from 0 to {most:g}"
    )


def _field(default: Any, *option: Any) -> Any:
    return field(default=default, metadata={"option": Option(*option)})
