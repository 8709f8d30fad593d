"""Puts the checkout on the path and keeps tests away from the user's folders and threads."""
import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
for folder in (CHECKOUT, *(CHECKOUT / "tests" / part for part in ("", "dassl", "datasets"))):  # helper modules
    sys.path.insert(0, str(folder))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never reach the network

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def mini_root(tmp_path_factory):
    """A data root in which the mini world is rendered once for the whole session, 12 images per class and domain."""
    from promptshift.mini import MINI_DG, render_world
    root = tmp_path_factory.mktemp("data")
    render_world(MINI_DG, root / "mini_dg", per_class=12, seed=0)
    return root
