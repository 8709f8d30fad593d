"""Small mini worlds, and command lines of small runs on them."""

from pathlib import Path

from promptshift.mini import MINI_DG, render_world

# everything small: two epochs of everything, a narrow generator, one stored view
SMALL = [
    "OPTIM.MAX_EPOCH",
    "2",
    "TEST.EVAL_FREQ",
    "1",
    "DATALOADER.TRAIN_X.FEATURE_VIEWS",
    "1",
    "TRAINER.DPSPG.FEEDFORWARD",
    "32",
    "TRAINER.DPSPG.LAYERS",
    "1",
    "TRAINER.DPSPG.LABELS.MAX_EPOCH",
    "1",
    "TRAINER.DPSPG.LABELS.FEATURE_VIEWS",
    "1",
    "TRAINER.SPG.LABELS.MAX_EPOCH",
    "1",
    "TRAINER.SPG.LABELS.FEATURE_VIEWS",
    "1",
]


def arguments(root, folder, trainer, *options, target="sketch", seed=1):
    return [
        "--root",
        str(root),
        "--seed",
        str(seed),
        "--trainer",
        trainer,
        "--dataset-config-file",
        "configs/datasets/mini.yaml",
        "--config-file",
        f"configs/trainers/{trainer}/mini.yaml",
        "--target-domains",
        target,
        "--output-dir",
        str(folder),
        *SMALL,
        *map(str, options),
    ]


def small_mini_world(root: Path, per_class: int) -> Path:
    """Renders `per_class` images of each class and domain below the data folder `root`, which it returns."""
    render_world(MINI_DG, root / "mini_dg", per_class=per_class, seed=0)
    return root
