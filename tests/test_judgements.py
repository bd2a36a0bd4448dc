"""What faults do, and what the judge says of them, is what it was."""

import json
import math

import pytest
from judgements import KEPT, judgements, networks

NETWORKS = networks()

# Other machines sum products in another order.
SAME = 1e-4


def alike(kept, told):
    return len(kept) == len(told) and all(
        math.isclose(one, other, rel_tol=SAME, abs_tol=SAME * 1e-6) if isinstance(one, float) else one == other
        for one, other in zip(kept, told, strict=True)
    )


@pytest.mark.parametrize("label", NETWORKS)
def test_faults_and_judgements_are_those_that_were_kept(label):
    found, kept = judgements(*NETWORKS[label]), json.loads(KEPT.read_text())[label]

    assert found.keys() == kept.keys()
    moved = {name: (kept[name], told) for name, told in found.items() if not alike(kept[name], told)}
    assert not moved, f"{len(moved)} moved; where this is meant, make figures keeps them anew"


def test_judgements_of_every_network_are_kept():
    assert json.loads(KEPT.read_text()).keys() == NETWORKS.keys()
