"""The experiment on diagnoses: what counts as named, and a random model as it would draw it."""

import pytest

from experiments.diagnosis import run, standing
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.fault import Injection
from rnncheck.faults.diagnosis import Diagnosis, Explanation
from rnncheck.faults.explain import _explained
from rnncheck.faults.wrong_weights import WrongWeight
from rnncheck.network import Network

NAMES = {fault.name: fault for fault in FAULTS}
NOTHING = Network("nothing", (), (), ())


def explained(*faults, layers=("gru",)):
    return Diagnosis(tuple(Explanation((fault,) * len(layers), layers, "", 100.0, 1.0) for fault in faults))


@pytest.mark.parametrize(
    ("diagnosis", "where"),
    [
        (explained("bias_dropped", "bias_doubled"), "first"),
        (explained("bias_doubled", "bias_dropped"), "equally"),
        (explained("bias_doubled"), "otherwise"),
        (explained("bias_dropped", layers=("lstm",)), "otherwise"),
        (Diagnosis(weights=(WrongWeight("gru", "bias", (0,), 1e-3),)), "otherwise"),
        (None, "otherwise"),
    ],
    ids=["first", "second", "another", "other_layer", "weights", "none"],
)
def test_fault_is_named_where_it_comes_in_its_layer(diagnosis, where):
    assert standing(diagnosis, [Injection(NAMES["bias_dropped"], "gru", NOTHING)]) == where


@pytest.mark.parametrize(
    ("layers", "where"),
    [(("lstm", "gru"), "first"), (("gru",), "equally"), (("gru", "head"), "otherwise")],
    ids=["all", "enough", "others"],
)
def test_fault_of_all_layers_is_named_in_all_that_show_it(layers, where):
    chain = [Injection(NAMES["bias_dropped"], layer, NOTHING) for layer in ("lstm", "gru")]

    assert standing(explained("bias_dropped", layers=layers), chain) == where


@pytest.mark.long
def test_faults_of_a_random_model_are_named():
    tally = run([200_001], 4)

    assert tally.named.total() >= 6
    assert tally.share(everywhere=False) == tally.share(everywhere=True) == 1.0
    assert tally.alarms == []


@pytest.mark.parametrize(
    ("diagnosis", "is_explained"),
    [
        (Diagnosis(), False),
        (explained("bias_dropped"), True),
        (explained("float16_weights"), False),
        (explained("float16_weights", "bias_dropped"), True),
        (Diagnosis((Explanation(("float16_weights", "bias_dropped"), ("gru", "gru"), "", 100.0, 1.0),)), False),
        (Diagnosis(weights=(WrongWeight("gru", "bias", (0,), 1e-3),)), True),
    ],
    ids=["nothing", "fault", "format", "either", "both at once", "weights"],
)
def test_run_is_explained_by_what_is_no_coarse_format(diagnosis, is_explained):
    assert _explained(diagnosis) is is_explained
