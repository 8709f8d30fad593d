"""Downloads from a server on this machine, and archives that want to leave their folder."""

import hashlib
import io
import os
import random
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer

import gdown
import pytest

from dassl.data import download
from dassl.data.download import fetch, safe_extract
from dassl.utils.errors import UserError
from helpers.full_disk import files_end_at

CONTENT = bytes(range(256)) * 40
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    """A server of CONTENT; ``cut`` bytes end the first answers early, ``ranges`` lets it continue."""
    monkeypatch.setattr(download, "_PAUSE", 0)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            served = self.server
            served.asked.append(self.headers.get("Range"))
            start = 0
            if served.ranges and self.headers.get("Range"):
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if self.path != "/data.zip":
                return self.send_error(404)
            if start >= len(CONTENT):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
                return self.end_headers()
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            end = start + served.cut.pop(0) if served.cut else None
            return self.wfile.write(CONTENT[start:end])

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        http.asked, http.cut, http.ranges = [], [], True
        http.url = f"http://127.0.0.1:{http.server_port}/data.zip"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield http
        http.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "ranges, cut, asked",
    [
        (True, [], [None]),
        (True, [1000, 500], [None, "bytes=1000-", "bytes=1500-"]),
        (False, [1000], [None, "bytes=1000-"]),
    ],
)
def test_a_download_goes_on_where_it_was_cut(server, tmp_path, ranges, cut, asked):
    server.ranges, server.cut = ranges, cut
    dst = tmp_path / "new" / "data.zip"
    fetch(server.url, dst, size=len(CONTENT), sha256=SHA)
    assert dst.read_bytes() == CONTENT and server.asked == asked
    assert [p.name for p in dst.parent.iterdir()] == ["data.zip"]
    fetch(server.url, dst, size=len(CONTENT), sha256=SHA)  # nothing to do
    assert server.asked == asked


def test_a_later_call_uses_what_an_earlier_one_left(server, tmp_path):
    dst = tmp_path / "data.zip"
    server.cut = [10] * 4
    with pytest.raises(UserError, match=rf"could not download {server.url} .*ended early.*put it at {dst}"):
        fetch(server.url, dst)
    assert not dst.exists() and (tmp_path / "data.zip.part").stat().st_size == 40
    fetch(server.url, dst)
    assert dst.read_bytes() == CONTENT and server.asked[-1] == "bytes=40-"


def test_a_complete_part_is_recognised(server, tmp_path):
    (tmp_path / "data.zip.part").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "data.zip", sha256=SHA)
    assert (tmp_path / "data.zip").read_bytes() == CONTENT and len(server.asked) == 1


@pytest.mark.parametrize(
    "expected, words",
    [
        (dict(size=99), f"has {len(CONTENT)} bytes instead of 99"),
        (dict(sha256="0" * 64), f"SHA-256 {SHA} instead of 000"),
    ],
)
def test_a_wrong_file_is_refused_and_not_kept(server, tmp_path, expected, words):
    with pytest.raises(UserError, match=words):
        fetch(server.url, tmp_path / "data.zip", **expected)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_that_is_there_is_replaced_only_on_success(server, tmp_path):
    dst = tmp_path / "data.zip"
    dst.write_bytes(b"old")
    with pytest.raises(UserError, match="404"):
        fetch(server.url.replace("data", "gone"), dst, size=len(CONTENT))
    assert dst.read_bytes() == b"old" and len(server.asked) == 1  # a refusal is not asked again
    fetch(server.url, dst, size=len(CONTENT))
    assert dst.read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.zip", "file:///etc/hostname", "x.zip"])
def test_an_unreachable_address_is_one_line(monkeypatch, tmp_path, url):
    monkeypatch.setattr(download, "_PAUSE", 0)
    with pytest.raises(UserError) as error:
        fetch(url, tmp_path / "x.zip")
    assert url in str(error.value) and str(tmp_path / "x.zip") in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "source",
    [
        "1AbC-d_9",
        "https://drive.google.com/uc?id=1AbC-d_9",
        "https://drive.google.com/file/d/1AbC-d_9/view?usp=sharing",
    ],
)
def test_google_drive_is_asked_by_id_and_resumes(monkeypatch, tmp_path, source):
    def fake(id, output, quiet, resume):
        assert (id, resume) == ("1AbC-d_9", True)
        with open(output, "wb") as file:
            file.write(CONTENT)
        return output

    monkeypatch.setattr(gdown, "download", fake)
    fetch(source, tmp_path / "data.zip", size=len(CONTENT), gdrive=True)
    assert (tmp_path / "data.zip").read_bytes() == CONTENT


def test_a_refusal_of_google_drive_is_one_line(monkeypatch, tmp_path):
    def refuse(**kwargs):
        raise RuntimeError("quota\n  exceeded")

    monkeypatch.setattr(gdown, "download", refuse)
    with pytest.raises(UserError, match=r"uc\?id=1AbC \(quota exceeded\); get it by hand"):
        fetch("1AbC", tmp_path / "data.zip", gdrive=True)


def make_zip(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)


def make_tar(path, members):
    """members: (name, type, link target)."""
    with tarfile.open(path, "w:gz") as archive:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.size = len(name) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(name.encode()))


def test_zip_and_tar_are_unpacked_and_may_be_unpacked_again(tmp_path):
    make_zip(tmp_path / "a.zip", ["x/1.txt", "x/y/2.txt"])
    make_tar(
        tmp_path / "a.tar.gz",
        [("x/1.txt", tarfile.REGTYPE, ""), ("x/y/2.txt", tarfile.REGTYPE, ""), ("x/l", tarfile.SYMTYPE, "y/2.txt")],
    )
    for archive in ("a.zip", "a.tar.gz"):
        folder = tmp_path / f"from {archive}"
        (folder / "x").mkdir(parents=True)
        (folder / "x" / "1.txt").write_text("half")
        for _ in range(2):
            safe_extract(tmp_path / archive, folder)
        assert (folder / "x" / "1.txt").read_text() == "x/1.txt"
        assert (folder / "x" / "y" / "2.txt").read_text() == "x/y/2.txt"
    assert (folder / "x" / "l").read_text() == "x/y/2.txt"


BAD_NAMES = ["../out.txt", "a/../../out.txt", "/abs.txt", "C:\\abs.txt", "..\\out.txt"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_that_would_leave_is_named_and_nothing_is_written(tmp_path, name, kind):
    archive = tmp_path / f"evil.{kind}"
    if kind == "zip":
        make_zip(archive, ["good.txt", name])
    else:
        make_tar(archive, [("good.txt", tarfile.REGTYPE, ""), (name, tarfile.REGTYPE, "")])
    with pytest.raises(UserError, match="would leave the folder") as error:
        safe_extract(archive, tmp_path / "out")
    assert repr(name) in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "member, words",
    [
        (("l", tarfile.SYMTYPE, "/etc"), "'l -> /etc' would leave"),
        (("l", tarfile.SYMTYPE, ".."), "'l -> ..' would leave"),
        (("l", tarfile.LNKTYPE, "../../x"), "would leave"),
        (("d", tarfile.CHRTYPE, ""), "'d' is a device or pipe"),
        (("p", tarfile.FIFOTYPE, ""), "'p' is a device or pipe"),
    ],
)
def test_links_and_devices_of_a_tar_are_refused(tmp_path, member, words):
    make_tar(tmp_path / "evil.tar", [("good.txt", tarfile.REGTYPE, ""), member])
    with pytest.raises(UserError, match=words):
        safe_extract(tmp_path / "evil.tar", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_damaged_archive_is_named(tmp_path):
    for name in ("a.zip", "a.tar.gz"):
        (tmp_path / name).write_bytes(b"not an archive")
        with pytest.raises(UserError, match=f"{name} is neither a zip nor a tar file"):
            safe_extract(tmp_path / name, tmp_path / "out")
    make_tar(tmp_path / "cut.tar.gz", [(f"{i}", tarfile.REGTYPE, "") for i in range(500)])
    data = (tmp_path / "cut.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="cannot unpack .*cut.tar.gz"):
        safe_extract(tmp_path / "cut.tar.gz", tmp_path / "out")
    with pytest.raises(UserError, match="no such archive"):
        safe_extract(tmp_path / "none.zip", tmp_path / "out")


def one_line(archive, folder):
    with pytest.raises(UserError) as error:
        safe_extract(archive, folder)
    line = str(error.value)
    assert "\n" not in line and len(line) < 1000 and str(archive) in line
    return line


METHODS = {"deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}
MODES = {"gz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}


@pytest.mark.parametrize("method", [*METHODS, *MODES])
def test_a_flipped_byte_in_any_compression_is_one_line(tmp_path, method):
    archive, content = tmp_path / "a", random.Random(0).randbytes(2000) + b"text " * 400
    if method in METHODS:
        with zipfile.ZipFile(archive, "w", METHODS[method]) as zipped:
            zipped.writestr("x", content)
    else:
        (tmp_path / "x").write_bytes(content)
        with tarfile.open(archive, MODES[method]) as tar:
            tar.add(tmp_path / "x", "x")
    whole, failed = archive.read_bytes(), 0
    for position in range(30, len(whole), 97):
        archive.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            safe_extract(archive, tmp_path / "out")
        except UserError as error:
            failed += 1
            assert "\n" not in str(error) and str(archive) in str(error)
    assert failed > 5


@pytest.mark.parametrize("field, value", [("flag", 1), ("method", 99), ("method", 14), ("method", 9)])
def test_encrypted_members_and_unknown_compression_are_one_line(tmp_path, field, value):
    make_zip(tmp_path / "a.zip", ["x.txt"])
    data = bytearray((tmp_path / "a.zip").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # of the member and of the directory
        start = data.index(signature) + offset + (2 if field == "method" else 0)
        data[start : start + 2] = value.to_bytes(2, "little")
    (tmp_path / "a.zip").write_bytes(data)
    one_line(tmp_path / "a.zip", tmp_path / "out")


def test_an_archive_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_SMALL", 2**20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("zeros", bytes(2**22))
    (tmp_path / "zeros").write_bytes(bytes(2**22))
    for mode, name in (("w:gz", "bomb.tar.gz"), ("w:xz", "bomb.tar.xz")):
        with tarfile.open(tmp_path / name, mode) as tar:
            tar.add(tmp_path / "zeros", "zeros")
    for name in ("bomb.zip", "bomb.tar.gz", "bomb.tar.xz"):
        assert "unpack to 4,19" in one_line(tmp_path / name, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.setattr(download, "_SMALL", 2**23)
    safe_extract(tmp_path / "bomb.zip", tmp_path / "out")
    assert (tmp_path / "out" / "zeros").stat().st_size == 2**22


def test_a_full_disk_and_a_file_in_the_way_are_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("x", bytes(50_000))
    with files_end_at(10_000):
        assert "the disk is full" in one_line(tmp_path / "a.zip", tmp_path / "out")
    make_zip(tmp_path / "b.zip", ["x/below"])
    one_line(tmp_path / "b.zip", tmp_path / "out")
    os.mkfifo(tmp_path / "pipe")
    one_line(tmp_path / "pipe", tmp_path / "out")
