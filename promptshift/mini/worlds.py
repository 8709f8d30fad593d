"""The table of worlds that are data sets: a new mini set is one more row here and in `datasets/_facts.py`.

MINI_DG2 and MINI_DG3 are what a method trained on MINI_DG is carried over to: six classes each that MINI_DG lacks
(whole look-alike pairs of `captions.py`), in styles that it lacks. Pretraining has seen all of them.
"""

from .world import MINI_DG, WorldSpec

MINI_DG2 = WorldSpec("mini_dg2", ("book", "bottle", "hat", "heart", "moon", "rocket"),
                     ("clipart", "silhouette", "watercolor"))
MINI_DG3 = WorldSpec("mini_dg3", ("balloon", "cat", "flag", "hammer", "sword", "table"),
                     ("cartoon_thin", "chalk", "photo_wide"))

WORLDS = {"MiniDG": MINI_DG, "MiniDG2": MINI_DG2, "MiniDG3": MINI_DG3}  # by registered name of the dataset
