"""A process of its own with one Keras backend: it takes tasks from stdin and answers on stdout.

    KERAS_BACKEND=jax python -m rnncheck.worker

Keras fixes its backend when it is imported, so that every backend needs a process. Messages are pickles, of a process
that rnncheck itself has started; see `rnncheck.backends`.
"""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import replace

from rnncheck.environment import environment
from rnncheck.errors import RnncheckError
from rnncheck.tasks import Answer, Task, answer


def _answer(task: Task) -> Answer:
    try:
        return answer(task)
    except RnncheckError as error:  # the process that asks knows what to do with it
        return Answer(error=str(error))


def main() -> None:
    """Answer tasks until there are no more."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what frameworks print is no answer
    said = environment()
    while True:
        try:
            task = pickle.load(sys.stdin.buffer)  # noqa: S301 - it comes from the process that started this one
        except EOFError:
            return
        given = _answer(task)
        if said["backend"] == "none":  # until a task has loaded Keras
            said = environment()
        pickle.dump(replace(given, environment=said), answers)
        answers.flush()


if __name__ == "__main__":
    main()
