"""What can go wrong, as exceptions.

    RnncheckError
    ├── InputError           a value, array, case or file that the user gave; exit code 2
    ├── UnsupportedError     something in a model that rnncheck does not replay; exit code 2
    └── MismatchError        a comparison that did not match; an AssertionError, carries `report`

Messages read **where: what came; what was expected. What to do.**
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnncheck.report import Report


class RnncheckError(Exception):
    """The root of everything that rnncheck raises on purpose."""


class InputError(RnncheckError, ValueError):
    """A value, an array, a case or a file from the user cannot be used."""


class UnsupportedError(RnncheckError):
    """A model uses a layer or an option that rnncheck does not replay."""


class MismatchError(RnncheckError, AssertionError):
    """A comparison did not end in `match`.

    Attributes:
        report: the whole `Report`, so that nobody has to parse the message.
    """

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> tuple[type[MismatchError], tuple[str, Report]]:
        """Keep the report on the way to another process."""
        return type(self), (str(self), self.report)


class NotApplicableError(Exception):
    """Something cannot be run here, or would be nothing else than what was run anyway; its message says why.

    It never reaches a user as an exception: a report notes what was not run.
    """
