"""Weights of one's own go by the name that their sizes have."""

import pytest
import torch

from dassl.utils.errors import UserError
from promptshift.modeling.clip import empty_clip
from promptshift.runs.config import build_cfg

SIZES = dict(
    embed_dim=1024, context_length=77, vocab_size=8, text_width=64, text_layers=1, text_heads=1, patch_size=None,
    vision_width=64, vision_layers=(3, 4, 6, 3), vision_heads=32, image_size=224,
)  # fmt: skip


@pytest.fixture(scope="module")
def rn50(tmp_path_factory):
    """A file with the image tower of RN50 (all zero) and hardly any text tower."""
    path = tmp_path_factory.mktemp("weights") / "mine.pt"
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in empty_clip(SIZES).state_dict().items()}
    state = {name: torch.zeros(shape, dtype=torch.float16) for name, shape in shapes.items() if "num_b" not in name}
    torch.save(state, path)
    return path


def backbone(path, *words, config="configs/trainers/CoOp/vit_b16.yaml"):
    argv = ["--trainer", "CoOp", "--dataset-config-file", "configs/datasets/pacs.yaml", "--config-file", config]
    return build_cfg([*argv, "MODEL.BACKBONE.PATH", str(path), *words])[0].MODEL.BACKBONE.NAME


def test_the_weights_say_what_they_are_where_only_a_path_is_given(rn50):
    assert backbone(rn50) == "RN50"
    assert backbone(rn50, "MODEL.BACKBONE.NAME", "RN50") == "RN50"


def test_a_name_that_contradicts_them_is_refused(rn50, tmp_path):
    with pytest.raises(UserError, match="MODEL.BACKBONE.NAME: ViT-B/16, .*mine.pt are those of RN50"):
        backbone(rn50, "MODEL.BACKBONE.NAME", "ViT-B/16")
    config = tmp_path / "both.yaml"
    config.write_text(f"MODEL:\n  BACKBONE:\n    NAME: ViT-B/16\n    PATH: {rn50}\n")
    argv = ["--trainer", "CoOp", "--dataset-config-file", "configs/datasets/pacs.yaml", "--config-file", str(config)]
    with pytest.raises(UserError, match="MODEL.BACKBONE.NAME: ViT-B/16, .*RN50"):
        build_cfg(argv)


def test_files_that_cannot_be_read_keep_the_name_for_the_loader_to_judge(tmp_path):
    (tmp_path / "odd.pt").write_bytes(b"odd")
    assert backbone(tmp_path / "odd.pt") == backbone(tmp_path / "none.pt") == "ViT-B/16"
