"""The renderer: every image is a function of its address, and a world lands on disk whole or not at all."""

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dassl.utils.errors import UserError
from helpers.full_disk import files_end_at
from promptshift.mini import MINI_DG, WorldSpec, render_image, render_world, rendering
from promptshift.mini.drawing.shapes import SHAPES
from promptshift.mini.drawing.styles import STYLES

SMALL = WorldSpec("small", ("apple", "key"), ("photo", "sketch"))


def pixels(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


@pytest.mark.parametrize("style", STYLES)
def test_every_class_renders_in_every_style(style):
    spec = WorldSpec("all", tuple(SHAPES), (style,))
    for classname in SHAPES:
        array, scene = render_image(spec, style, classname, 0)
        assert array.shape == (48, 48, 3) and array.dtype == np.uint8
        assert array.std() > 5, "an empty picture"
        assert scene.classname == classname != scene.distractor


def test_images_depend_on_the_whole_address_and_on_nothing_else():
    addresses = [
        (spec, domain, name, index, seed)
        for spec in (SMALL, replace(SMALL, name="other"))
        for domain in SMALL.domains
        for name in SMALL.classes
        for index in (0, 1)
        for seed in (0, 1)
    ]
    first = [render_image(*address)[0].tobytes() for address in addresses]
    assert first == [render_image(*address)[0].tobytes() for address in reversed(addresses)][::-1]
    assert len(set(first)) == len(addresses)


def test_neighbouring_seeds_and_domains_share_no_stream():
    poses = {
        render_image(MINI_DG, domain, "star", index, seed)[1].objects[-1][0].points.tobytes()
        for domain in ("photo", "cartoon", "sketch")
        for index in range(3)
        for seed in range(3)
    }
    assert len(poses) == 27


def test_layout_and_marker(tmp_path):
    render_world(SMALL, tmp_path / "deep" / "world", per_class=3, seed=5, workers=1)
    found = sorted(pixels(tmp_path / "deep" / "world"))
    assert found == [
        f"images/{domain}/{name}/{name}_{i:04d}.png"
        for domain in ("photo", "sketch")
        for name in ("apple", "key")
        for i in range(3)
    ]
    with Image.open(tmp_path / "deep" / "world" / found[4]) as image:
        assert np.array_equal(np.asarray(image), render_image(SMALL, "photo", "key", 1, 5)[0])
    marker = json.loads((tmp_path / "deep" / "world" / "world.json").read_text())
    assert {key: marker[key] for key in ("name", "seed", "per_class")} == {"name": "small", "seed": 5, "per_class": 3}
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["world"], "temporary folders are gone"


def test_bytes_do_not_depend_on_workers_nor_on_the_number_of_images(tmp_path):
    render_world(SMALL, tmp_path / "one", per_class=2, workers=1)
    render_world(SMALL, tmp_path / "two", per_class=3, workers=2)
    one, two = pixels(tmp_path / "one"), pixels(tmp_path / "two")
    assert len(one) == 8 and len(two) == 12
    assert one.items() <= two.items()


def test_the_same_world_is_not_rendered_twice_and_another_one_is_refused(tmp_path, monkeypatch):
    render_world(SMALL, tmp_path / "w", per_class=1, workers=1)
    monkeypatch.setattr(rendering, "render_image", lambda *address: pytest.fail("rendered again"))
    render_world(SMALL, tmp_path / "w", per_class=1, workers=1)
    crowded = replace(SMALL, settings=replace(SMALL.settings, distractor_p=1.0))
    for other in (
        {"spec": SMALL, "per_class": 2},
        {"spec": SMALL, "per_class": 1, "seed": 3},
        {"spec": crowded, "per_class": 1},
    ):
        with pytest.raises(UserError, match="holds another world") as error:
            render_world(folder=tmp_path / "w", **other)
        assert str(tmp_path / "w") in str(error.value)


def test_foreign_files_are_never_overwritten(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"not empty and holds no world\.json"):
        render_world(SMALL, tmp_path, per_class=1)
    assert [p.name for p in tmp_path.iterdir()] == ["photo.png"]


def test_an_interrupted_rendering_leaves_nothing(tmp_path, monkeypatch):
    def fail_late(spec, domain, classname, index, seed):
        if domain == "sketch":
            raise KeyboardInterrupt
        return render_image(spec, domain, classname, index, seed)

    monkeypatch.setattr(rendering, "render_image", fail_late)
    with pytest.raises(KeyboardInterrupt):
        render_world(SMALL, tmp_path / "w", per_class=1, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_bad_values_are_named():
    with pytest.raises(UserError, match="WorldSpec.classes: unknown 'aple'.*did you mean 'apple'"):
        WorldSpec("w", ("aple",), ("photo",))
    with pytest.raises(UserError, match="WorldSpec.domains: unknown 'oil'"):
        WorldSpec("w", ("apple",), ("oil",))
    with pytest.raises(UserError, match="per_class=0"):
        render_world(SMALL, "nowhere", per_class=0)


def test_the_default_world_has_pacs_domains_and_sorted_classes():
    assert MINI_DG.domains == ("art_painting", "cartoon", "photo", "sketch")
    assert len(MINI_DG.classes) == 20 and list(MINI_DG.classes) == sorted(MINI_DG.classes)


RENDER = """
import sys
from promptshift.mini import MINI_DG, render_world
print("rendering", flush=True)
render_world(MINI_DG, sys.argv[1], per_class=200, workers=2)
"""


def processes_that_name(word):
    """Ids of the living processes whose command line has a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_a_killed_rendering_ends_its_workers_and_is_swept_by_the_next_one(tmp_path):
    world = tmp_path / "world"
    process = subprocess.Popen([sys.executable, "-c", RENDER, str(world)], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"rendering\n"
        wait_until(lambda: any(tmp_path.glob(".world-*/world/images/*/*/*.png")))
        (hidden,) = tmp_path.iterdir()
        render_world(SMALL, world, per_class=1, workers=1)
        assert hidden.exists(), "a living process is at work there"
    finally:
        process.kill()  # SIGKILL, of the parent alone
        process.wait()
        process.stdout.close()
    wait_until(lambda: not processes_that_name(str(world)))
    (tmp_path / ".world-mine").mkdir()  # not as tempfile names them

    def swept():
        render_world(SMALL, world, per_class=1, workers=1)
        return not hidden.exists()

    wait_until(swept)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".world-mine", "world"]
    assert len(pixels(world)) == 4


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_full_disk_is_named(tmp_path):
    with files_end_at(100), pytest.raises(UserError, match="world: the disk is full"):
        render_world(SMALL, tmp_path / "world", per_class=1, workers=1)
    assert list(tmp_path.iterdir()) == []
