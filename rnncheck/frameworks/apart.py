"""Run a function in a process of its own: runtimes crash, and take the process with them.

The process gets the path of a file with the function, which imports NumPy and its runtime alone, so that it starts
fast; this file is what it executes.
"""

from __future__ import annotations

import os
import pickle
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

# Seconds that one call may take, the start of its process included.
TIME_LIMIT = 300.0

# How much of what a runtime says is kept; some print their whole graph.
_MOST_SAID = 300


class RuntimeFailure(Exception):  # noqa: N818 - it is a runtime's, and becomes an error row
    """What was run apart raised an exception, took too long, or died."""

    def __init__(self, message: str, *, died: bool = False) -> None:
        super().__init__(message)
        self.died = died


def run_apart(runtime: str, file: Path, function: str, *arguments: Any) -> Any:
    """Return what a function of a file gives in a process of its own, in which a runtime runs.

    Raises:
        RuntimeFailure: it raised an exception, took longer than `TIME_LIMIT`, or its process died.
    """
    ((problem, result),) = attempts(runtime, file, function, [arguments])
    if problem:
        raise RuntimeFailure(f"{runtime}: {problem}")
    return result


def attempts(runtime: str, file: Path, function: str, calls: Sequence[tuple[Any, ...]]) -> list[tuple[str, Any]]:
    """Call a function of a file with some arguments after others, all in one process of their own.

    Returns:
        For each call what it raised, empty where nothing, and what it gave.

    Raises:
        RuntimeFailure: all together took longer than `TIME_LIMIT`, or the process died.
    """
    # -P: what lies beside the files must not be imported.
    command = [sys.executable, "-P", __file__, str(file), function]
    given = pickle.dumps(calls)
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=TIME_LIMIT, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise RuntimeFailure(f"{runtime} took longer than {TIME_LIMIT:g} s and was stopped") from error
    if done.returncode:
        raise RuntimeFailure(f"{runtime}: its process died with {_reason(done.returncode)}", died=True)
    answers: list[tuple[str, Any]] = pickle.loads(done.stdout)  # noqa: S301 - from our own process
    return answers


def _reason(code: int) -> str:
    return f"the signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _serve(file: str, function: str) -> None:
    # Only the answer may go to stdout, whatever a runtime prints.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    calls = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own process
    loaded = cache(lambda: runpy.run_path(file)[function])
    pickle.dump([_attempt(loaded, arguments) for arguments in calls], answers)
    answers.close()


def _attempt(loaded: Callable[[], Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "", loaded()(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever a runtime raises is a finding
        said = " ".join(str(error).split())
        return f"{type(error).__name__}: {said if len(said) <= _MOST_SAID else f'{said[:_MOST_SAID]}...'}", None


if __name__ == "__main__":
    _serve(*sys.argv[1:])
