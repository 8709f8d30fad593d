"""Downloads that can be interrupted, and archives that stay in their folder."""

import hashlib
import http.client
import lzma
import os
import re
import struct
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from tqdm import tqdm

from ..utils.errors import UserError, shorten
from ..utils.tools import mkdir_if_missing
from ..utils.writing import write_problem

__all__ = ["fetch", "safe_extract"]

_ATTEMPTS = 4
_PAUSE = 1.0  # seconds between attempts
_TIMEOUT = 60.0  # seconds without a byte
_CHUNK = 1 << 20
_LARGEST_GROWTH = 100  # unpacked size over packed size (images: 1, lists of names: 20) ...
_SMALL = 2**30  # ... of what unpacks to more bytes than this
_TAR_BLOCK = 512
# Besides OSError: damage in zip and tar headers and in the streams of zlib, bz2 and lzma, unknown methods of
# compression (NotImplementedError) and encryption (RuntimeError).
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError)
_DAMAGE += (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


def fetch(
    url_or_gdrive_id: str,
    dst: str | os.PathLike,
    size: int | None = None,
    sha256: str | None = None,
    gdrive: bool = False,
) -> None:
    """Download one file to ``dst``, going on where an earlier attempt stopped (kept as ``<dst>.part``).

    Args:
        url_or_gdrive_id: http(s) address, or a Google Drive id or link with ``gdrive``.
        dst: where the file goes; one that is there and has the right size and checksum is left alone.
        size: expected bytes, if known.
        sha256: expected checksum in hex, if known.
        gdrive: download from Google Drive.

    Raises:
        UserError: no connection, or a file of another size or checksum.
    """
    dst = Path(dst)
    if dst.is_file() and _mismatch(dst, size, sha256) is None:
        return
    part = dst.with_name(dst.name + ".part")
    mkdir_if_missing(dst.parent)
    link = f"https://drive.google.com/uc?id={_drive_id(url_or_gdrive_id)}" if gdrive else url_or_gdrive_id
    try:
        if gdrive:
            _download_drive(_drive_id(url_or_gdrive_id), part)
        else:
            _download_http(link, part, size)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"could not download {link} ({reason}); get it by hand and put it at {dst}") from None
    problem = _mismatch(part, size, sha256)
    if problem is not None:
        part.unlink()
        raise UserError(f"the download of {link} has {problem}; get the right file by hand and put it at {dst}")
    os.replace(part, dst)


def _mismatch(path: Path, size: int | None, sha256: str | None) -> str | None:
    """Say in words how a file differs from what is expected; None when it does not."""
    if size is not None and path.stat().st_size != size:
        return f"{path.stat().st_size} bytes instead of {size}"
    if sha256 is not None:
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        if digest.hexdigest() != sha256.lower():
            return f"the SHA-256 {digest.hexdigest()} instead of {sha256}"
    return None


def _drive_id(url_or_id: str) -> str:
    match = re.search(r"(?:/d/|[?&]id=)([\w-]+)", url_or_id)
    return match[1] if match else url_or_id


def _download_drive(file_id: str, part: Path) -> None:
    import gdown  # pulls in a scraping stack that nothing else needs

    if gdown.download(id=file_id, output=str(part), quiet=not sys.stderr.isatty(), resume=True) is None:
        raise OSError("Google Drive refused the file")


def _download_http(url: str, part: Path, size: int | None) -> None:
    if not url.startswith(("http://", "https://")):
        raise ValueError("not an http(s) address")
    for attempt in range(_ATTEMPTS):
        try:
            if _continue_http(url, part, size):
                return
            error: Exception = OSError("the connection ended early")
        except urllib.error.HTTPError as http_error:
            if http_error.code < 500:
                raise
            error = http_error
        except (OSError, http.client.HTTPException) as broken:
            error = broken
        if attempt + 1 < _ATTEMPTS:
            time.sleep(_PAUSE)
    raise error


def _continue_http(url: str, part: Path, size: int | None) -> bool:
    """Append to ``part`` what is missing; tell whether it is complete now."""
    have = part.stat().st_size if part.is_file() else 0
    if size is not None and have == size:
        return True
    headers = {"User-Agent": "dassl", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # there is nothing behind what we have
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return True
        part.unlink()
        return False
    with response:
        if response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            mode, start = "ab", have
        else:
            mode, start = "wb", 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, disable=not sys.stderr.isatty())
        with open(part, mode) as file, bar:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    return total is None or part.stat().st_size == total


def safe_extract(archive: str | os.PathLike, folder: str | os.PathLike) -> None:
    """Unpack a zip or (compressed) tar file; files that are there already are written again.

    Raises:
        UserError: the archive is damaged, encrypted, of another kind or unpacks to more than 100 times its size, or
            one of its members would leave ``folder`` (then nothing was written), or the disk is full.
    """
    if not os.path.isfile(archive):
        raise UserError(f"no such archive: {archive}")
    try:
        mkdir_if_missing(folder)
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                for info in zipped.infolist():
                    _check_member(archive, info.filename)
                _check_size(archive, sum(info.file_size for info in zipped.infolist()))
                zipped.extractall(folder)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                _check_tar(archive, tar)
                _extract_tar(tar, folder)
        else:
            raise UserError(f"{archive} is neither a zip nor a tar file; delete it and download it again")
    except _DAMAGE as error:
        raise UserError(
            f"cannot unpack {archive} into {folder}: {write_problem(error) or shorten(error)}; "
            "if the archive is damaged, delete it and download it again"
        ) from None


def _extract_tar(tar: tarfile.TarFile, folder: str | os.PathLike) -> None:
    if hasattr(tarfile, "data_filter"):
        tar.extractall(folder, filter="data")
    else:  # Python 3.10 before 3.10.12; the members were checked
        tar.extractall(folder)


def _check_tar(archive: str | os.PathLike, tar: tarfile.TarFile) -> None:
    size = 0
    for member in tar:
        size += _TAR_BLOCK + member.size
        _check_size(archive, size)  # before the next one, which is found by unpacking this one
        _check_member(archive, member.name)
        if member.issym() or member.islnk():
            _check_member(archive, member.linkname, f"{member.name} -> {member.linkname}")
        elif not (member.isfile() or member.isdir()):
            raise UserError(f"{archive}: member {shorten(repr(member.name))} is a device or pipe; nothing was unpacked")
    while rest := tar.fileobj.read(_CHUNK):  # the checksum of gzip stands behind it all
        size += len(rest)
        _check_size(archive, size)


def _check_member(archive: str | os.PathLike, name: str, shown: str | None = None) -> None:
    """Refuse absolute paths and any step upwards; a link may then only point further down."""
    windows = PureWindowsPath(name)
    if PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        raise UserError(
            f"{archive}: member {shorten(repr(shown or name))} would leave the folder; nothing was unpacked"
        )


def _check_size(archive: str | os.PathLike, size: int) -> None:
    packed = os.path.getsize(archive)
    if size > max(_SMALL, _LARGEST_GROWTH * packed):
        raise UserError(
            f"{archive}: its {packed:,} bytes unpack to {size:,} or more, over {_LARGEST_GROWTH} times as many; "
            "nothing was unpacked"
        )
