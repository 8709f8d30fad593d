"""Work that must not move the random streams of the run it is done in."""

from __future__ import annotations

from contextlib import contextmanager

from dassl.engine.state import rng_state, set_rng_state


@contextmanager
def own_random_state():
    """Gives the states of `random`, numpy and torch (every device) back as they were found.

    Wherever a result may be computed now or found on disk, both ways must leave the run with the same numbers.
    """
    state = rng_state()
    try:
        yield
    finally:
        set_rng_state(state)
