"""Reading images: the formats of data sets, and nothing that runs a program, waits or is no image."""

import io
import os
import random
import struct
import zlib

import pytest
from PIL import EpsImagePlugin, Image

from dassl.utils import read_image
from dassl.utils.errors import UserError
from dassl.utils.tools import IMAGE_FORMATS

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def encoded(image_format, size=(40, 30), **options):
    """The bytes of an image of noise."""
    buffer = io.BytesIO()
    noise = random.Random(0).randbytes(3 * size[0] * size[1])
    Image.frombytes("RGB", size, noise).save(buffer, image_format, **options)
    return buffer.getvalue()


def refused(path):
    """The message of the refusal: one short line that names the file."""
    with pytest.raises(UserError) as error:
        read_image(path)
    message = str(error.value)
    assert "\n" not in message and os.path.basename(path)[:50] in message and len(message) < 800, message
    return message


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_formats_of_data_sets_are_read_whatever_the_name(tmp_path, image_format):
    (tmp_path / "x.jpg").write_bytes(encoded(image_format))
    image = read_image(tmp_path / "x.jpg")
    assert image.mode == "RGB" and image.size == (40, 30) and len(image.getcolors(2**24)) > 200


def test_postscript_called_png_starts_no_program(tmp_path, monkeypatch):
    """`gs` is a program of the test's own; that Pillow would start it is shown first."""
    script = tmp_path / "bin" / "gs"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    (tmp_path / "x.png").write_bytes(EPS)
    with pytest.raises(OSError), Image.open(tmp_path / "x.png") as image:
        image.load()
    assert (tmp_path / "started").exists()
    (tmp_path / "started").unlink()
    assert "cannot identify image file" in refused(tmp_path / "x.png")
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("image_format", ["AVIF", "ICO", "PCX", "TGA", "SGI", "DDS", "JPEG2000"])
def test_other_formats_are_refused(tmp_path, image_format):
    try:
        data = encoded(image_format)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow cannot write {image_format}")
    (tmp_path / "x.png").write_bytes(data)
    refused(tmp_path / "x.png")


def png(width, height):
    """A PNG that claims a size and has no pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_bombs_pieces_and_no_images_are_one_line(tmp_path):
    jpeg = encoded("JPEG", (400, 300))
    for number, data in enumerate(
        (
            b"",
            b"text",
            png(60_000, 60_000),
            png(2**31 - 1, 2**31 - 1),
            png(0, 0),
            png(9, 9),
            jpeg[: len(jpeg) // 2],
            jpeg[:100],
            b"P6 99999999999999999999 1 255\n",
            EPS,
        )
    ):
        path = tmp_path / f"{number}.png"
        path.write_bytes(data)
        assert f"({len(data)} bytes)" in refused(path)


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink("/dev/zero", tmp_path / "device.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "device.png", "folder.png"):
        assert "no regular file" in refused(tmp_path / name)
    refused("a" * 10_000 + ".png")
    refused("null\0character.png")
    assert "no such image" in refused(tmp_path / "b\nc".replace("\n", "_"))
    with pytest.raises(UserError, match=r"no such image: .*a\\udcff\.png"):
        read_image(str(tmp_path / "a\udcff.png"))


@pytest.mark.filterwarnings("ignore:.*EXIF", "ignore:Truncated File", "ignore:.*data larger", "ignore:Image size")
@pytest.mark.parametrize("image_format", [*IMAGE_FORMATS, "AVIF"])
def test_damaged_images_are_images_or_one_line(tmp_path, image_format):
    try:
        data = encoded(image_format, (16, 12))
    except (KeyError, OSError):
        pytest.skip(f"this Pillow cannot write {image_format}")
    draw, path = random.Random(image_format), tmp_path / "x.png"
    for _ in range(100):
        at, length = draw.randrange(len(data)), draw.choice((1, 4, 50))
        for changed in (data[:at], data[:at] + draw.randbytes(length) + data[at + length :]):
            path.write_bytes(changed)
            try:
                assert read_image(path).mode == "RGB"
            except UserError as error:
                assert "\n" not in str(error) and "x.png" in str(error)


def test_no_other_code_opens_images(request):
    folders = [request.config.rootpath / name for name in ("dassl", "datasets", "promptshift", "trainers", "clip")]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    assert [path.name for path in files if "Image.open(" in path.read_text(encoding="utf-8")] == ["tools.py"]
