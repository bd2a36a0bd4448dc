"""The same models on each of Keras' backends, every backend in a process of its own.

A backend that crashes or takes too long is an answer with an error; the next task gets a new process.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import IO, Any

from rnncheck.cases.deviations import BACKENDS
from rnncheck.errors import InputError, RnncheckError
from rnncheck.frameworks.keras.environment import environment
from rnncheck.frameworks.sources import Task
from rnncheck.jobs.job import Answer, answer

# Seconds that a task may take, a framework's start included.
TIME_LIMIT = 300.0


def named_backends(names: Sequence[str]) -> tuple[str, ...]:
    """Return the backends that are named; with `all`, those that are installed.

    Raises:
        InputError: a name is that of none, or of one that is not installed.
    """
    names = [names] if isinstance(names, str) else names
    for name in names:
        if name not in {*BACKENDS, "all"}:
            raise InputError(f"backend: {name!r} came; expected {', '.join(BACKENDS)} or all.")
        if name != "all" and not _is_installed(name):
            raise InputError(f"backend {name!r}: it is not installed; expected one that is. Run: pip install {name}")
    chosen = [name for name in BACKENDS if name in names or ("all" in names and _is_installed(name))]
    return tuple(chosen)


def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def run_everywhere(
    backends: Sequence[str], tasks: Sequence[Task], time_limit: float = TIME_LIMIT
) -> Iterator[list[Answer]]:
    """Run every task on every backend, the backends side by side; yield the answers to one task after the other.

    Args:
        backends: some of `BACKENDS`.
        tasks: what to run.
        time_limit: seconds that a backend may take for one task.
    """
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(contextlib.closing(_Worker(backend, time_limit))) for backend in backends]
        for index, task in enumerate(tasks):
            if index == 0:
                _give(workers, task)
            answers = [worker.take() for worker in workers]
            if index + 1 < len(tasks):  # they work on the next one while this one is looked at
                _give(workers, tasks[index + 1])
            yield answers


def run_side_by_side(
    tasks: Sequence[Task], count: int, time_limit: float = TIME_LIMIT
) -> Generator[Answer, None, None]:
    """Run tasks in several processes with the backend that Keras has here; yield the answers in their order.

    Building and tracing models keeps one core busy at most, in one process.

    Args:
        tasks: what to run.
        count: of processes.
        time_limit: seconds that a task may take.
    """
    workers = [_Worker(None, time_limit) for _ in range(count)]
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def run(task: Task) -> Answer:
        worker = idle.get()
        worker.give(task)
        answer = worker.take()
        idle.put(worker)
        return answer

    pool = ThreadPoolExecutor(count)
    try:
        yield from pool.map(run, tasks)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:  # which ends the waiting of a thread too
            worker.close()


def _give(workers: Sequence[_Worker], task: Task) -> None:
    for worker in workers:
        worker.give(task)


class _Worker:
    """A process with one backend: that of the name, or the one that Keras chooses here."""

    def __init__(self, backend: str | None, time_limit: float) -> None:
        self._backend = backend or "Keras"
        self._settings = {} if backend is None else {"KERAS_BACKEND": backend}
        self._time_limit = time_limit
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker

    def give(self, task: Task) -> None:
        """Hand over a task; its answer must be taken before the next one is given."""
        process = self._process or self._start()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: no answer will come
            pickle.dump(task, process.stdin)
            process.stdin.flush()

    def take(self) -> Answer:
        """Wait for the answer."""
        try:
            answer = self._answers.get(timeout=self._time_limit)
        except queue.Empty:
            self._stop()
            return Answer(error=f"{self._backend} took longer than {self._time_limit:g} s and was stopped")
        if answer is not None:
            return answer
        code = self._stop(grace=10.0)
        said = self._last_words()
        return Answer(error=f"{self._backend} crashed with exit code {code}" + (f": {said}" if said else ""))

    def close(self) -> None:
        """End the process."""
        self._stop()
        self._errors.close()

    def _start(self) -> subprocess.Popen[bytes]:
        # JAX computes float64 as float32 unless it is told not to.
        settings = {**self._settings, "JAX_ENABLE_X64": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        process = subprocess.Popen(
            [sys.executable, "-m", "rnncheck.jobs.processes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **settings},
        )
        self._process = process
        self._answers = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(process, self._answers), daemon=True).start()
        return process

    def _stop(self, grace: float = 0.0) -> int | None:
        """End the process, which has some seconds to do so itself; return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(grace)
        process.kill()
        return process.wait()

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def _listen(process: subprocess.Popen[Any], answers: queue.SimpleQueue[Answer | None]) -> None:
    """Hand on what a process answers, and None when it has ended."""
    assert process.stdout is not None
    with process.stdout:
        while True:
            try:
                answers.put(pickle.load(process.stdout))  # noqa: S301 - rnncheck's own process
            except (EOFError, pickle.UnpicklingError):
                answers.put(None)
                return


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
