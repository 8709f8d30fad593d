"""Puts the checkout on the path and keeps tests away from the user's folders and threads."""

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
for folder in (CHECKOUT, CHECKOUT / "tests"):  # the checkout, and the folder of helpers/
    sys.path.insert(0, str(folder))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never reach the network

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Skips what is compared with stored numbers where GOLDEN_SEED_SHIFT makes other weights and inputs."""
    from helpers.goldens_recipe import SEED_SHIFT

    if SEED_SHIFT:
        for item in items:
            if item.get_closest_marker("stored"):
                item.add_marker(pytest.mark.skip(reason=f"stored numbers; GOLDEN_SEED_SHIFT is {SEED_SHIFT}"))


@pytest.fixture(scope="session")
def mini_root(tmp_path_factory):
    """A data root in which the mini world is rendered once for the whole session, 12 images per class and domain."""
    from helpers.mini_runs import small_mini_world

    return small_mini_world(tmp_path_factory.mktemp("data"), per_class=12)
