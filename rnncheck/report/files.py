"""Result files, which are written whole or not at all."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rnncheck.errors import InputError
from rnncheck.network import Array
from rnncheck.report.console import print_text
from rnncheck.report.report import Report

# The target that is stdout.
STDOUT = "-"

# The limit of most file systems.
_LONGEST_NAME = 255

_PREFIX = ".rnncheck-"


def check_targets(targets: Iterable[str], read: Iterable[Path] = ()) -> None:
    """Check before a run that its results can be written, each to a place of its own, over nothing that is read.

    Raises:
        InputError: one cannot.
    """
    taken: dict[object, str] = {}
    sources = {path.resolve() for path in read}
    for target in targets:
        place = target if target == STDOUT else Path(target).resolve()
        if place in taken:
            raise InputError(f"{target}: got it for two results; expected another place for each.")
        if place in sources:
            raise InputError(f"{target}: got a file that is read; expected another one for the report.")
        if target != STDOUT:
            _check_writable(Path(target))
        taken[place] = target


def _check_writable(path: Path) -> None:
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise InputError(f"{path}: got a name longer than {_LONGEST_NAME} bytes; expected a shorter one.")
    if path.is_dir():
        raise InputError(f"{path}: got a directory; expected the name of a file to write.")
    if not path.parent.is_dir():
        raise InputError(
            f"{path}: got the directory {path.parent}, which does not exist; expected one that does. Create it first."
        )
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"{path}: got a place without write permission; expected one with it.")
    with _told_of(path):
        if not _is_written_in_place(path):
            tempfile.TemporaryDirectory(prefix=_PREFIX, dir=path.resolve().parent).cleanup()


def as_json(found: Mapping[str, Any]) -> str:
    """Return the dictionary of a report or a self-test as JSON."""
    return json.dumps(found, indent=1, allow_nan=False) + "\n"


def as_csv(report: Report) -> str:
    """Return a report as CSV, one line for each row."""
    return report.to_frame().to_csv(index=False)


def as_npz(arrays: Mapping[str, Array]) -> bytes:
    """Return arrays by name as NumPy's .npz."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type] # a name with a slash is none of its parameters
    return file.getvalue()


def write(content: str | bytes, target: str) -> None:
    """Write a result to a file, whole or not at all; text to stdout if the target is `-`.

    Raises:
        InputError: the file cannot be written.
    """
    if target == STDOUT and isinstance(content, str):
        print_text(content)
        return
    data, path = content.encode() if isinstance(content, str) else content, Path(target)
    with _told_of(path):
        if _is_written_in_place(path):
            path.write_bytes(data)
            return
        path = path.resolve()  # the target of a link is replaced, not the link
        # Write beside the file, then move it into place, so that nobody sees half of it.
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=path.parent) as folder:
            part = Path(folder) / "report"
            part.write_bytes(data)
            if path.exists():
                part.chmod(path.stat().st_mode)
            part.replace(path)


def _is_written_in_place(path: Path) -> bool:
    # A device or a pipe, such as /dev/stdout, is not replaced.
    return (path.exists() and not path.is_file()) or path.is_relative_to("/dev")


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: got an error while writing ({error.strerror or error}); expected a writable place."
        ) from error
