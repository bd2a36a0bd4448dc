"""What is known of an option of a Case, told once: its default, its choices, its help, and where it applies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any

from rnncheck.errors import InputError

if TYPE_CHECKING:
    from rnncheck.cases.case import Case


@dataclass(frozen=True)
class Place:
    """Where an option applies.

    Attributes:
        has: whether a case has the option; where it has not, the option keeps its default.
        where: what such a case has, for messages.
    """

    has: Callable[[Case], bool]
    where: str


@dataclass(frozen=True)
class Option:
    """What is known of an option.

    Attributes:
        help: what it is, for the command line.
        accepts: whether a value is one that the option takes.
        expected: which values it takes, for messages.
        choices: all of these values, where they can be listed.
        place: where it applies; None for everywhere.
    """

    help: str
    accepts: Callable[[Any], bool]
    expected: str
    choices: tuple[Any, ...] = ()
    place: Place | None = None

    def check(self, name: str, value: Any) -> None:
        """Refuse a value that the option does not take.

        Raises:
            InputError: it does not.
        """
        if not self.accepts(value):
            raise InputError(f"case: got {name}={value!r}; expected {self.expected}.")


def choice(
    default: str, text: str, choices: Iterable[str], place: Place | None = None, *, listed: bool = True
) -> Any:
    """Return a field that is one of several words; the help lists them unless told otherwise."""
    words = tuple(choices)
    text = f"{text}: {', '.join(words)}" if listed else text
    expected = f"one of {', '.join(sorted(words))}"
    return _field(
        default, Option(text, lambda value: isinstance(value, str) and value in words, expected, words, place)
    )


def flag(default: bool, text: str, place: Place | None = None) -> Any:
    """Return a field that is on or off."""
    return _field(
        default,
        Option(text, lambda value: isinstance(value, bool), "one of False, True", (False, True), place),
    )


def whole(default: int, text: str, place: Place | None = None, *, least: int = 1, most: float = math.inf) -> Any:
    """Return a field that is a whole number."""
    expected = f"a whole number from {least} " + ("up" if most == math.inf else f"to {most}")

    def accepts(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    return _field(default, Option(text, accepts, expected, place=place))


def number(default: float | None, text: str, most: float = math.inf) -> Any:
    """Return a field that is a finite number from 0 up; None where that is the default."""
    expected = (
        f"a {'finite ' if most == math.inf else ''}number from 0 {'up' if most == math.inf else f'to {most:g}'}"
    )

    def accepts(value: Any) -> bool:
        in_range = isinstance(value, Real) and math.isfinite(value) and 0.0 <= float(value) <= most
        return in_range or value is default

    return _field(default, Option(text, accepts, expected))


def _field(default: Any, option: Option) -> Any:
    return field(default=default, metadata={"option": option})
