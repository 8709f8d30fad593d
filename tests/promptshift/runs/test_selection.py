"""What a result says of how its weights were chosen."""

import shutil


def test_the_selection_is_recorded(train, mini_root, tmp_path):
    """On own images the number is honest; on a published set, whose val images are its test images, an oracle's."""
    shutil.copytree(mini_root / "mini_dg" / "images" / "photo", tmp_path / "mine")
    best = ("OPTIM.MAX_EPOCH", 1, "TEST.FINAL_MODEL", "best_val", "DATASET.SOURCE_DOMAINS")
    folder = ("DATASET.NAME", "FolderDG", "DATASET.ROOT", tmp_path, "DATASET.FOLDER", "mine")
    assert train("CoOp", *best, "['mine']", *folder, target="mine")["selection"] == "best_val"
    assert train("CoOp", *best, "['sketch']", folder="mini")["selection"] == "oracle"
    assert train("CoOp", *best, "['sketch']", "TEST.SPLIT", "val", folder="val")["selection"] == "best_val"
