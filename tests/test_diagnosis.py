"""The experiment on diagnoses: what counts as named, and a random model as it would draw it."""

import pytest

from experiments.diagnosis import run, standing
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.fault import Injection
from rnncheck.faults.diagnosis import Diagnosis, Explanation
from rnncheck.faults.wrong_weights import WrongWeight
from rnncheck.network import Network

NAMES = {fault.name: fault for fault in FAULTS}
NOTHING = Network("nothing", (), (), ())


def explained(*faults, layer="gru"):
    return Diagnosis(tuple(Explanation((fault,), (layer,), "", 100.0, 1.0) for fault in faults))


@pytest.mark.parametrize(
    ("diagnosis", "where"),
    [
        (explained("bias_dropped", "bias_doubled"), "first"),
        (explained("bias_doubled", "bias_dropped"), "equally"),
        (explained("bias_doubled"), "otherwise"),
        (explained("bias_dropped", layer="lstm"), "otherwise"),
        (Diagnosis(weights=(WrongWeight("gru", "bias", (0,), 1e-3),)), "otherwise"),
        (None, "otherwise"),
    ],
    ids=["first", "second", "another", "other_layer", "weights", "none"],
)
def test_fault_is_named_where_it_comes_in_its_layer(diagnosis, where):
    assert standing(diagnosis, Injection(NAMES["bias_dropped"], "gru", NOTHING)) == where


def test_faults_of_a_random_model_are_named():
    tally = run([200_001], 4)

    assert tally.named.total() >= 3
    assert tally.share == 1.0
    assert tally.alarms == []
