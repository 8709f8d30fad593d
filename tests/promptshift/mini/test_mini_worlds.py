"""The second and third mini set: other classes, other styles, the same facts in both tables."""

from pathlib import Path

import pytest

from datasets._image_facts import IMAGE_SETS
from datasets.domain_sets import domain_sets
from helpers.dataset_trees import build
from promptshift.mini import MINI_DG, render_world
from promptshift.mini.captions import MATE
from promptshift.mini.worlds import MINI_DG2, MINI_DG3, PER_CLASS, WORLDS


def test_every_rendered_dataset_has_its_world_and_the_other_way_round():
    rendered = {name: facts for name, facts in (domain_sets | IMAGE_SETS).items() if facts.rendered}
    assert set(rendered) == set(WORLDS)
    for name, facts in rendered.items():
        world = WORLDS[name]
        styles = facts.domains or (Path(facts.images).name,)
        assert set(styles) <= set(world.domains) and facts.n_classes == len(world.classes)
        total = PER_CLASS.get(name, 60) * len(world.classes)
        assert set(facts.totals.values()) == {total} if facts.domains else sum(facts.totals.values()) == total


def test_the_sets_share_no_class_and_no_style_and_keep_look_alikes_together():
    worlds = (MINI_DG, MINI_DG2, MINI_DG3)
    assert len(set().union(*(world.classes for world in worlds))) == sum(len(world.classes) for world in worlds) == 32
    assert len(set().union(*(world.domains for world in worlds))) == sum(len(world.domains) for world in worlds)
    for world in worlds:
        assert list(world.classes) == sorted(world.classes)
        assert all(MATE[name] in world.classes for name in world.classes)


@pytest.mark.parametrize("name, folder", [("mini2", "mini_dg2"), ("mini3", "mini_dg3")])
def test_they_are_datasets_like_the_others(tmp_path, name, folder):
    world = WORLDS[f"MiniDG{name[-1]}"]
    render_world(world, tmp_path / folder, per_class=4, workers=1)
    data = build(tmp_path, name, (), (world.domains[0],))
    assert data.classnames == list(world.classes)
    assert (len(data.train_x), len(data.val), len(data.test)) == (2 * 6 * 3, 2 * 6 * 1, 6 * 4)
