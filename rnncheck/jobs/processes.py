"""Jobs in processes of their own: several at once, or one backend of Keras in each.

A process that dies or takes too long gives an error; the next job gets a new process.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rnncheck.errors import RnncheckError
from rnncheck.frameworks.keras.environment import environment
from rnncheck.frameworks.keras.session import require_keras
from rnncheck.jobs.job import Job
from rnncheck.jobs.perform import Run, perform

# Seconds that a job may take, a framework's start included.
TIME_LIMIT = 300.0

Answer = tuple[tuple[Run, ...], Mapping[str, str]]  # what became of a job, and the environment of its process

_SETTINGS = {
    # JAX computes float64 as float32 unless it is told not to.
    "JAX_ENABLE_X64": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # loky replaces processes that grow by 300 MB, as frameworks do.
    "LOKY_MAX_MEMORY_LEAK_SIZE": "1e15",
}


def run_in_processes(
    jobs: Sequence[Job], backends: Sequence[str] = ("",), count: int = 1, time_limit: float = TIME_LIMIT
) -> Iterator[dict[str, Answer]]:
    """Run every job on every backend, side by side; yield the answers to one job after the other, by backend.

    Args:
        jobs: what to run.
        backends: some of `rnncheck.cases.deviations.BACKENDS`; "" for the one that Keras has here.
        count: the number of processes for each backend.
        time_limit: seconds that a job may take.

    Raises:
        InputError: Keras, a backend or loky is not installed.
    """
    require_keras(backends, "loky")
    processes: list[Process] = []
    mine = threading.local()

    def start(backend: str) -> None:
        mine.process = Process(backend, time_limit)
        processes.append(mine.process)

    def run(job: Job) -> Answer:
        process: Process = mine.process
        return process.run(job)

    # The threads only wait, each for a process of its own.
    threads = [ThreadPoolExecutor(count, initializer=start, initargs=(backend,)) for backend in backends]
    try:
        answers = [pool.map(run, jobs) for pool in threads]
        for each in zip(*answers, strict=True):
            yield dict(zip(backends, each, strict=True))
    finally:
        for pool in threads:
            pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:  # which ends the waiting of its thread too
            process.close()


class Process:
    """A process that runs one job at a time, with one backend: the one named, or the one that Keras has here."""

    def __init__(self, backend: str = "", time_limit: float = TIME_LIMIT) -> None:
        self._backend = backend or "Keras"
        self._settings = _SETTINGS | ({"KERAS_BACKEND": backend} if backend else {})
        self._time_limit = time_limit
        self._pool: Any = None

    def run(self, job: Job) -> Answer:
        """Run a job; a process that does not finish it is ended, and gives an error."""
        from loky.process_executor import BrokenProcessPool, ProcessPoolExecutor, ShutdownExecutorError

        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, env=self._settings, initializer=_begin, initargs=(os.getpid(),))
        try:
            answer: Answer = self._pool.submit(_answer, job).result(self._time_limit)
        except TimeoutError:
            problem = f"{self._backend} took longer than {self._time_limit:g} s and was stopped"
        except (BrokenProcessPool, ShutdownExecutorError) as error:
            # loky tells the exit code in words only.
            code = re.search(r"exit codes of the workers are {(.+)}", str(error))
            problem = f"{self._backend}: its process died" + (f" with exit code {code[1]}" if code else "")
        else:
            return answer
        self.close()
        return (Run(error=problem),), {}

    def close(self) -> None:
        """End the process."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(kill_workers=True)


def _begin(parent: int) -> None:
    """Send what frameworks print nowhere, and watch the parent."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process soon after its parent, which may have been killed and cannot say so."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _answer(job: Job) -> Answer:
    try:
        runs = perform(job)
    except RnncheckError as error:  # here it is a finding too
        runs = (Run(error=str(error)),)
    return runs, environment()
