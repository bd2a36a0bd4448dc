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
from pathlib import Path
from typing import Any

# Seconds that one call may take, the start of its process included.
TIME_LIMIT = 300.0


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
    # -P: what lies beside the files must not be imported.
    command = [sys.executable, "-P", __file__, str(file), function]
    given = pickle.dumps(arguments)
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=TIME_LIMIT, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise RuntimeFailure(f"{runtime} took longer than {TIME_LIMIT:g} s and was stopped") from error
    if done.returncode:
        raise RuntimeFailure(f"{runtime}: its process died with {_reason(done.returncode)}", died=True)
    problem, result = pickle.loads(done.stdout)  # noqa: S301 - from our own process
    if problem:
        raise RuntimeFailure(f"{runtime}: {problem}")
    return result


def _reason(code: int) -> str:
    return f"the signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _serve(file: str, function: str) -> None:
    # Only the answer may go to stdout, whatever a runtime prints.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own process
    try:
        answer = ("", runpy.run_path(file)[function](*arguments))
    except Exception as error:  # noqa: BLE001 - whatever a runtime raises is a finding
        said = next(filter(None, str(error).splitlines()), "")
        answer = (f"{type(error).__name__}: {said}", None)
    pickle.dump(answer, answers)
    answers.close()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
