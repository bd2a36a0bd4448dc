"""Walk through a network for one sample: by the equations, and in its framework where the model can be run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rnncheck.equations.cells import CELLS, Cell, cell_of
from rnncheck.equations.layers import HELPERS
from rnncheck.equations.operands import Options, Weights, X
from rnncheck.equations.replay import Replayed, processing_order, replay
from rnncheck.errors import InputError
from rnncheck.frameworks.keras.session import load_keras
from rnncheck.jobs.job import Job
from rnncheck.jobs.perform import perform
from rnncheck.network import Array, Layer, Network, Recording
from rnncheck.report.network_table import input_shape, output_shapes
from rnncheck.report.program import weights_by_name
from rnncheck.report.walk_table import LayerWalk, Walk


def walk_through(
    job: Job, *, sample: int = 0, steps: tuple[int | None, int | None] | None = None, gates: bool
) -> Walk:
    """Return the walk of a job's model through one sample of its first call; the arguments are `rnncheck.walk`'s.

    Raises:
        InputError: there is no such sample, or no such steps.
    """
    network, arrays = job.subject.equations, job.calls[0]
    samples = len(arrays[0])
    if not 0 <= sample < samples:
        raise InputError(f"sample: got {sample}; expected one from 0 to {samples - 1}. The inputs have {samples}.")
    recording, notes = _run(replace(job, calls=job.calls[:1]))
    # As Keras casts the inputs before the model sees them.
    arrays = arrays if recording is None else recording.inputs
    seen: dict[str, list[Mapping[str, Array]]] = {}
    by_hand = replay(_watched(network, seen) if gates else network, arrays, every_step=True)
    given = {spec.name: array for spec, array in zip(network.inputs, arrays, strict=True)}
    recurrent = tuple(
        _layer_walk(layer, sample, samples, by_hand, recording, given, seen.get(layer.name, []))
        for layer in network.layers
        if layer.kind in CELLS
    )
    names = network.output_names or tuple(map(str, network.outputs))
    shapes = output_shapes(network)
    return Walk(
        name=job.subject.name,
        layers=(
            *((spec.name, "Input", input_shape(spec), 0) for spec in network.inputs),
            *(
                (each.name, each.kind, shapes[each.name], each.parameters)
                for each in network.layers
                if each.kind not in HELPERS
            ),
        ),
        parameters=network.parameters,
        weights=weights_by_name(network),
        sample=sample,
        samples=samples,
        steps=_chosen(steps, max((len(each.by_hand) for each in recurrent), default=0)),
        inputs={name: array[sample] for name, array in given.items()},
        recurrent=recurrent,
        outputs=dict(zip(names, (each[sample] for each in by_hand.outputs), strict=True)),
        predicted={} if recording is None else dict(zip(names, (y[sample] for y in recording.outputs), strict=True)),
        notes=(*job.subject.notes, *notes),
        framework="Keras" if job.subject.runner is None else job.subject.runner.framework,
    )


def _chosen(steps: tuple[int | None, int | None] | None, t_steps: int) -> tuple[int, int] | None:
    if steps is None:
        return None
    first, end = steps[0] or 0, t_steps if steps[1] is None else steps[1]
    if not 0 <= first < end <= t_steps:
        got = ":".join("" if step is None else str(step) for step in steps)
        raise InputError(
            f"steps: got {got}; expected a range A:B within 0:{t_steps}, not empty. The model takes {t_steps} steps."
        )
    return first, end


def _run(job: Job) -> tuple[Recording | None, list[str]]:
    # What the framework computes, or why it computed nothing.
    if job.subject.model is None:
        return None, ["a Network does not run: the numbers are by hand alone"]
    try:
        if job.subject.runner is None:
            load_keras()
        (run,) = perform(job)
    except InputError as reason:
        return None, [f"the numbers are by hand alone. {reason}"]
    if run.error or run.not_applicable:
        return None, [f"the model could not be run, the numbers are by hand alone: {run.error or run.not_applicable}"]
    return run.recordings[0], []


def _layer_walk(
    layer: Layer,
    sample: int,
    samples: int,
    by_hand: Replayed,
    recording: Recording | None,
    given: Mapping[str, Array],
    seen: list[Mapping[str, Array]],
) -> LayerWalk:
    h = by_hand.sequences[layer.name]
    sequences = len(h) // samples  # inside TimeDistributed every step is a sample
    row = sample * sequences
    observed = None if recording is None else recording.states.get(layer.name)
    counts = None
    if layer.mask is not None:
        mask = by_hand.tensors.get(layer.mask, given.get(layer.mask.layer))
        counts = processing_order(layer, np.asarray(mask))[row].astype(bool)
    return LayerWalk(
        layer.name,
        layer.kind,
        by_hand=h[row],
        observed=None if observed is None else observed[row],
        counts=counts,
        gates={name: np.stack([step[name][row] for step in seen]) for name in (seen[0] if seen else ())},
        backwards=bool(layer.options["go_backwards"]),
        sequences=sequences,
    )


@dataclass(frozen=True)
class _Watched:
    """A cell that keeps what its activations gave at every step."""

    cell: Cell
    seen: list[Mapping[str, Array]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cell, name)

    def step(self, projected: X, states: tuple[X, ...], weights: Weights, options: Options) -> tuple[X, ...]:
        activations, after = self.cell.step_in_parts(projected, states, weights, options)
        # The one activation of a SimpleRNN gives h itself.
        given = {"sum" if name == "h" else name: pair[name != "h"] for name, pair in activations.items()}
        self.seen.append({**given, **dict(zip(self.cell.states[1:], after[1:], strict=True))})
        return after


def _watched(network: Network, seen: dict[str, list[Mapping[str, Array]]]) -> Network:
    layers = []
    for layer in network.layers:
        if layer.kind in CELLS:
            cell = _Watched(cell_of(layer))
            seen[layer.name], layer = cell.seen, replace(layer, equations=cell)  # noqa: PLW2901 - the same layer
        layers.append(layer)
    return replace(network, layers=tuple(layers))
