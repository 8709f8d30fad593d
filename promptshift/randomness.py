"""Work that must not move the random streams of the run it is done in."""
from __future__ import annotations

import random
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def own_random_state():
    """Gives the states of `random`, numpy and torch back as they were found.

    Wherever a result may be computed now or found on disk, both ways must leave the run with the same numbers.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
