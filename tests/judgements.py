"""What each fault does to small networks, and what the judge says of it, to be held against what was kept.

    make figures

A fault whose effect changes may still be caught, and a search that looks at less may still find the fault of a test.
So whoever changes faults, checks or searches on purpose keeps new judgements, and looks at which of them moved.
"""

import json
from pathlib import Path

import numpy as np
from figures import summed
from reference import CELLS, make_bidirectional, make_inputs, make_network
from test_layers import CASES, draw, drawn_weights, options_of

from rnncheck.checks.verdicts import worst
from rnncheck.equations.formats import FORMATS, in_format
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.fault import WITH_WEIGHTS, chained, injections
from rnncheck.faults.emulation import emulate
from rnncheck.faults.explain import explain
from rnncheck.faults.trial import blind_spots, rows_against
from rnncheck.jobs.self_test import networks_beyond_keras
from rnncheck.network import InputSpec, Layer, Network, Tensor

KEPT = Path(__file__).with_suffix(".json")
NAMES = {fault.name: fault for fault in FAULTS}

# What the kinds of other layers end with that a fault may be in.
OTHERS = ("Pooling1D", "Pooling2D", "Pooling3D", "Normalization")

# Every how many-th fault is diagnosed, which takes a search.
EVERY = 29


def with_faults(network, *faults):
    """The network with some faults in it, each (name, layer)."""
    chain = chained(network, [(NAMES[name], layer) for name, layer in faults])
    assert len(chain) == len(faults)
    return chain[-1].network if chain else network


def networks():
    """Return small networks and the inputs of a call, by a label."""
    made = {}
    for cell, options in CELLS.items():
        if cell in {"conv_lstm_1d", "conv_lstm_3d"}:
            continue  # as the other one
        made[cell] = make_network(T=4, D=2, M=3, K=2, mask=True, initial_state=True, return_state=True, **options)
        if "conv" not in cell:
            made[f"{cell}, all steps"] = make_network(T=4, D=2, M=3, K=2, return_sequences=True, **options)
    made["both directions"] = make_bidirectional(
        T=4, D=2, M=3, merge_mode="concat", backward="gru", mask=True, dtype="float32"
    )
    found = {label: (network, make_inputs(network, N=3)) for label, network in made.items()}
    faulty = [name for name, case in CASES.items() if case.kind in WITH_WEIGHTS or case.kind.endswith(OTHERS)]
    found |= {name: (network, tuple(calls[0])) for name, network, calls in networks_beyond_keras(0)}
    return found | {name: _alone(CASES[name]) for name in faulty}


def _alone(case):
    rng = np.random.default_rng(0)
    inputs = tuple(x.astype(np.float32) if x.dtype.kind == "f" else x for x in draw(case, rng))
    weights = {name: weight.astype(np.float32) for name, weight in drawn_weights(case, rng).items()}
    specs = tuple(InputSpec(f"x{place}", x.shape[1:], x.dtype.name) for place, x in enumerate(inputs))
    layer = Layer("alone", case.kind, tuple(Tensor(spec.name) for spec in specs), options_of(case), weights)
    return Network("alone", specs, (layer,), (Tensor("alone"),)), inputs


@np.errstate(all="ignore")
def judgements(network, inputs):
    """Return what there is to say of a right run, and of one with each fault, by its name and layer."""
    run = emulate(network, [inputs])
    spots = blind_spots(network, run, FAULTS)
    found = {
        "right": _told(run, rows_against(network, run)),
        "hidden": [f"{spot.fault} in {spot.layer}: {spot.reason}" for spot in spots],
    }
    for name in FORMATS:
        coarse = emulate(in_format(network, name), [inputs])
        found[f"in {name}"] = _told(coarse, rows_against(network, coarse))
    for number, each in enumerate(injections(network, FAULTS)):
        wrong = emulate(each.network, [inputs])
        rows = rows_against(network, wrong)
        found[f"{each.fault.name} in {each.layer}"] = _told(wrong, rows)
        if number % EVERY == 0:
            found[f"{each.fault.name} in {each.layer}, diagnosed"] = _named(explain(network, wrong, rows).diagnosis)
    return found


def _told(run, rows):
    """The numbers that were recorded, the verdict, and all noises and scores."""
    arrays = [*run[0].outputs, *run[0].states.values()]
    numbers = [*arrays, [row.noise for row in rows]]
    scores = np.log10([1.0 + min(row.score_max, 1e30) for row in rows])
    return [str(worst(rows)), *(summed(np.asarray(each))[0] for each in (*numbers, scores))]


def _named(diagnosis):
    if diagnosis is None:
        return []
    return [
        *("+".join(each.faults) for each in diagnosis.explanations),
        *map(str, diagnosis.weights),
        diagnosis.shape,
    ]


def main():
    of_networks = []
    for label, (network, inputs) in networks().items():
        lines = [f"{json.dumps(name)}: {json.dumps(told)}" for name, told in judgements(network, inputs).items()]
        of_networks.append(f"{json.dumps(label)}: {{\n" + ",\n".join(lines) + "\n}")
    KEPT.write_text("{\n" + ",\n".join(of_networks) + "\n}\n")


if __name__ == "__main__":
    main()
