"""What faults do, and what the judge says of them, is what it was."""

import json

import pytest
from judgements import KEPT, judgements, networks
from test_figures import alike

NETWORKS = networks()


@pytest.mark.parametrize("label", NETWORKS)
def test_faults_and_judgements_are_those_that_were_kept(label):
    found, kept = judgements(*NETWORKS[label]), json.loads(KEPT.read_text())[label]

    assert found.keys() == kept.keys()
    moved = {name: (kept[name], told) for name, told in found.items() if not alike(kept[name], told)}
    assert not moved, f"{len(moved)} moved; where this is meant, make figures keeps them anew"


def test_judgements_of_every_network_are_kept():
    assert json.loads(KEPT.read_text()).keys() == NETWORKS.keys()
