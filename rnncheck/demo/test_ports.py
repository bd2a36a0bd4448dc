"""What two ports of the sine's model computed, as tests: pytest -q test_ports.py."""

import numpy as np
import pytest


@pytest.mark.parametrize("recorded", ["outputs.csv", "wrong_outputs.csv"])
def test_port(rnncheck, recorded):
    port = np.loadtxt(recorded, delimiter=",", ndmin=2)
    rnncheck("sine.keras", np.load("inputs.npy"), outputs=port)
