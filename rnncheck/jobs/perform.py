"""A run: what became of a job on one compute path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rnncheck.checks.relations import Related, related_runs
from rnncheck.errors import NotApplicableError, RnncheckError, described
from rnncheck.frameworks.apart import RuntimeFailure
from rnncheck.frameworks.keras.paths import PATHS
from rnncheck.frameworks.keras.session import quiet_framework
from rnncheck.frameworks.onnx.run import OnnxRunner
from rnncheck.frameworks.sources import Calls
from rnncheck.frameworks.torch.run import TorchRunner
from rnncheck.jobs.job import Job
from rnncheck.network import Network, Recording
from rnncheck.report.console import tell


@dataclass(frozen=True, eq=False)
class Run:
    """What became of a job on one compute path."""

    path: str = ""  # empty for what runs outside of Keras, and for a model that did not open
    network: Network | None = None  # the equations; None for a model that did not open
    recordings: tuple[Recording, ...] = ()  # one for each call; empty if it failed or was not run
    related: tuple[Related, ...] = ()  # what became of the relations
    error: str = ""  # why it failed; empty if it did not
    not_applicable: str = ""  # why there was nothing to run; empty if there was


def perform(job: Job) -> tuple[Run, ...]:
    """Run a job in this process, on each of its paths; an exception of the framework becomes an error of the run."""
    if (runner := job.subject.runner) is not None:
        return (_without_keras(job, runner),)
    tell("loading the model in Keras")
    try:
        with quiet_framework(), job.subject.in_keras(job.calls) as (model, network, calls):
            return tuple(_on_path(path, model, network, calls, job.relations) for path in job.paths)
    except RnncheckError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the framework raises is a finding
        return (Run(error=described(error)),)


def _without_keras(job: Job, runner: TorchRunner | OnnxRunner) -> Run:
    tell(f"running the model in {runner.framework}")
    network = job.subject.equations
    try:
        return Run("", network, runner.record(job.calls), related_runs(runner, network, job.calls, job.relations))
    except RnncheckError:
        raise
    except RuntimeFailure as failure:
        return Run("", network, error=str(failure))
    except Exception as error:  # noqa: BLE001 - whatever the framework raises is a finding
        return Run("", network, error=described(error))


def _on_path(path: str, model: Any, network: Network, calls: Calls, relations: Sequence[str]) -> Run:
    from rnncheck.frameworks.keras.run import running

    tell("tracing and running the model in Keras")
    try:
        with running(model, network, calls, PATHS[path]) as runner:
            recordings = runner.record(calls)
            return Run(path, network, recordings, related_runs(runner, network, calls, relations))
    except NotApplicableError as reason:
        return Run(path, network, not_applicable=str(reason))
    except RnncheckError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the framework raises is a finding
        # Some limits of a path are known only when Keras refuses.
        refusal = PATHS[path].refusal
        if refusal and refusal in str(error):
            return Run(path, network, not_applicable=f"Keras says that {refusal} for one of the layers")
        return Run(path, network, error=described(error))
