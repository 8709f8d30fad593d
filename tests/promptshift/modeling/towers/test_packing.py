"""Classes side by side in few sequences: each is there once, and sees its prefix and itself alone."""

import pytest
import torch

from promptshift.modeling.towers.packing import pack, room_for

LENGTHS = (3, 7, 2, 2, 5, 1, 4, 3, 3, 2, 6)


def packed(room, start=4):
    return pack(LENGTHS, 8, start, room, torch.float32, torch.device("cpu"))


@pytest.mark.parametrize("room", [1, 8, 13, 20, 1000])
def test_every_class_sees_its_prefix_and_what_stands_before_it_of_its_own(room, start=4):
    packing = packed(room)
    places = packing.pooled.flatten()[packing.order]
    rows = packing.order // packing.pooled.shape[1]
    for k, length in enumerate(LENGTHS):
        row, end = rows[k], places[k] + 1
        own = torch.arange(end - length, end)
        assert packing.tokens[row, own - start].tolist() == [8 * k + j for j in range(length)]
        assert packing.positions[row, own].tolist() == list(range(start, start + length))
        for j, place in enumerate(own):
            seen = (packing.mask[row, 0, place] == 0).nonzero().flatten().tolist()
            assert seen == [*range(start), *own[: j + 1].tolist()]
    assert packing.positions[:, :start].tolist() == [list(range(start))] * len(packing.positions)
    assert (packing.mask == 0).any(dim=-1).all()  # no token without one to look at, padding included


def test_sequences_are_about_equally_full():
    packing = packed(13)
    assert len(packing.tokens) == 3  # 38 tokens
    assert packing.tokens.shape[1] <= 14


def test_parts_are_the_whole():
    packing = packed(8)
    parts = list(packing.split(2 * packing.positions.shape[1]))
    assert len(parts) > 1
    assert torch.cat([part.tokens for part in parts]).equal(packing.tokens)
    assert torch.cat([part.mask for part in parts]).equal(packing.mask)


def test_room_grows_with_width_and_prefix_and_ends_at_the_chunk():
    assert room_for(512, 5, 16384) == 124
    assert room_for(512, 17, 16384) > room_for(512, 5, 16384) > room_for(128, 5, 16384)
    assert room_for(512, 5, 40) == 35
    assert room_for(512, 5, 3) == 1
