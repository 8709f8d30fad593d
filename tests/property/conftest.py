"""How many files hypothesis invents: few, and the same ones each time; EXAMPLES=1000 for more of them, at random."""

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("EXAMPLES", "0"))
settings.register_profile(
    "readers",
    max_examples=EXAMPLES or 25,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,  # the tests bound the time of the processor, which does not depend on other programs
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("readers")
