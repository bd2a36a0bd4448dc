"""What can go wrong, as exceptions.

    RnncheckError
    ├── InputError           a value, array, case or file that the user gave; exit code 2
    ├── UnsupportedError     something in a model that rnncheck does not replay; exit code 2
    └── MismatchError        a comparison that did not match; an AssertionError, beside the `Report` that it carries
        └── UndecidableError one that could not tell

Messages read **where: got ...; expected .... What to do.**
"""

from __future__ import annotations

import re


class RnncheckError(Exception):
    """The root of everything that rnncheck raises on purpose."""


class InputError(RnncheckError, ValueError):
    """A value, an array, a case or a file from the user cannot be used."""


class UnsupportedError(RnncheckError):
    """A model uses a layer or an option that rnncheck does not replay."""


class NotApplicableError(Exception):
    """Something cannot be run here, or would be nothing else than what was run anyway; its message says why.

    It never reaches a user as an exception: a report notes what was not run.
    """


# How Keras makes a message bold.
_COLOUR = re.compile(r"\x1b\[\d*m")

# TensorFlow says so of convolutions with channels_first, which it does by oneDNN alone: never in float64, and in
# float32 not on older processors, where it leaves oneDNN off.
_CHANNELS_LAST, _ONEDNN = "NHWC", "for float32, set TF_ENABLE_ONEDNN_OPTS=1 in the environment"

# How Keras begins what was wrong behind a description of what it was loading; the last one says most.
_CAUSE = "Exception encountered: "


def described(error: Exception) -> str:
    """Return an exception's type and what it says was wrong, on one line, with what helps where that is known."""
    lines = [line for line in _COLOUR.sub("", str(error)).splitlines() if line.strip()]
    said = lines[:1]
    # Keras tells which layer was called before it tells what was wrong, TensorFlow the stack of the calls.
    if lines and lines[0].startswith("Exception encountered when calling"):
        said = lines[:2]
    elif lines and lines[0].startswith("Graph execution error"):
        places = [place for place, line in enumerate(lines) if line.startswith("  File ")]
        said += lines[places[-1] + 1 :][:1] if places else []
    elif cause := [line for line in lines if line.startswith(_CAUSE)]:
        said = [cause[-1].removeprefix(_CAUSE)]
    text = f"{type(error).__name__}: {' '.join(said)}"
    return f"{text}; {_ONEDNN}" if _CHANNELS_LAST in text else text


def escaped(text: str) -> str:
    """Return text to be printed on a line: what is not printable, such as a line break in a name, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
