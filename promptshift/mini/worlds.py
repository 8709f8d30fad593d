"""The table of worlds that are data sets: a new mini set is one more row here and in the facts of `datasets/`.

MINI_DG2 and MINI_DG3 are what a method trained on MINI_DG is carried over to: six classes each that MINI_DG lacks
(whole look-alike pairs of `captions.py`), in styles that it lacks. Pretraining has seen all of them.
MINI_B2N has MINI_DG's classes as photos, enough of them for 16 shots; MINI_B2N_STYLES shows the same classes in the
other styles, the counterpart of ImageNet's variants.
"""

from .world import MINI_DG, WorldSpec

MINI_DG2 = WorldSpec(
    "mini_dg2", ("book", "bottle", "hat", "heart", "moon", "rocket"), ("clipart", "silhouette", "watercolor")
)
MINI_DG3 = WorldSpec(
    "mini_dg3", ("balloon", "cat", "flag", "hammer", "sword", "table"), ("cartoon_thin", "chalk", "photo_wide")
)
MINI_B2N = WorldSpec("mini_b2n", MINI_DG.classes, ("photo",))
MINI_B2N_STYLES = WorldSpec("mini_b2n_styles", MINI_DG.classes, ("art_painting", "cartoon", "sketch"))

# by registered name of the dataset
WORLDS = {
    "MiniDG": MINI_DG,
    "MiniDG2": MINI_DG2,
    "MiniDG3": MINI_DG3,
    "MiniB2N": MINI_B2N,
    **dict.fromkeys(("MiniB2NArtPainting", "MiniB2NCartoon", "MiniB2NSketch"), MINI_B2N_STYLES),
}
PER_CLASS = {"MiniB2N": 100}  # images per class and style where it is not the usual number
