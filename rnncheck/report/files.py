"""Result files, which are written whole or not at all."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnncheck.errors import InputError
from rnncheck.network import Array
from rnncheck.report.report import Report

# What stands for stdout in the place of a file.
STDOUT = Path("-")

# The limit of most file systems.
_LONGEST_NAME = 255


def check_writable(path: Path) -> None:
    """Refuse a path to which no result can be written, with an InputError."""
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


def write_json(result: Report | Mapping[str, Any], path: Path) -> None:
    """Write a report, or the dictionary of a self-test, as JSON."""
    document = result if isinstance(result, Mapping) else result.to_dict()
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    _write_whole(path, lambda part: part.write_text(text))


def write_text(text: str, path: Path) -> None:
    """Write a text."""
    _write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_npz(arrays: Mapping[str, Array], path: Path) -> None:
    """Write arrays by name, as NumPy's .npz, whatever the path's suffix."""

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type] # a name with a slash is none of its parameters

    _write_whole(path, write)


def write_csv(report: Report, path: Path) -> None:
    """Write a report as CSV, one line for each row."""
    _write_whole(path, lambda part: report.to_frame().to_csv(part, index=False))


def write_html(report: Report, path: Path, command: str) -> None:
    """Write a report as a page, with the command that repeats it."""
    page = report.to_html(command)
    if path == STDOUT:
        sys.stdout.write(page)
    else:
        _write_whole(path, lambda part: part.write_text(page, encoding="utf-8"))


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    # Write beside the file, then move it into place, so that nobody sees half of it.
    try:
        if (path.exists() and not path.is_file()) or path.is_relative_to("/dev"):
            write(path)  # a device or a pipe, such as /dev/stdout, is not replaced
            return
        path = path.resolve()  # the target of a link is replaced, not the link
        with tempfile.TemporaryDirectory(prefix=".rnncheck-", dir=path.parent) as folder:
            part = Path(folder) / "report"
            write(part)
            if path.exists():
                part.chmod(path.stat().st_mode)
            part.replace(path)
    except OSError as error:
        raise InputError(
            f"{path}: got an error while writing ({error.strerror or error}); expected a writable place."
        ) from error
