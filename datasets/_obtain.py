"""Getting the images of a dataset: found, downloaded, or rendered."""

import logging
from collections.abc import Sequence
from pathlib import Path

from dassl.data.download import fetch, safe_extract
from dassl.utils.errors import UserError

from ._facts import Archive, DomainSet
from ._image_facts import MIRROR, ImageSet
from ._layout import DOWNLOAD_FOLDER, Place, dataset_folder, find_folder, find_place
from ._splits import PUBLISHED_FOLDERS

log = logging.getLogger(f"promptshift.{__name__}")

MINI_PER_CLASS = 60  # images per class and domain of a mini world
MINI_SEED = 0
MINI_COMMAND = "bash scripts/dpspg/main.sh mini"
MINI_B2N_COMMAND = "bash scripts/coop/main.sh mini_b2n"


def obtain(facts: DomainSet, root: str | Path, needed: list[str], download: bool = True) -> Place:
    """Make sure that the domains in `needed` are below `root`.

    Archives lie in `<dataset folder>/download` until they are unpacked, so an archive there means that an earlier
    download or extraction was cut short, and it is finished first.

    Raises:
        UserError: They are not there and could not be had; the line says what was looked for and what to do.
    """
    folder = dataset_folder(facts, root)
    if facts.rendered and find_place(facts, root) is None:
        _render(facts, folder)
    wanted = _archives_wanted(facts, find_place(facts, root), folder, needed)
    offline = [archive for archive in wanted if not (folder / DOWNLOAD_FOLDER / archive.file).exists()]
    if offline and not download:
        raise UserError(
            f"{_not_found(facts, folder, needed)}; DATASET.DOWNLOAD is False; {missing_data_help(offline, folder)}"
        )
    for archive in wanted:
        _download(facts, archive, folder, needed)
    place = find_place(facts, root)
    absent = [domain for domain in needed if place is None or domain not in place.domain_dirs]
    if absent:
        raise UserError(f"{_not_found(facts, folder, absent)}; {missing_data_help(facts.archives, folder)}")
    if download and (wanted or facts.lists):
        _download_splits(facts, folder)
    return place


def obtain_images(facts: ImageSet, root: str | Path, download: bool = True) -> Path:
    """Make sure that the images of a dataset without domains, and the files beside them, are below `root`.

    Returns:
        The image folder.

    Raises:
        UserError: As `obtain`.
    """
    folder = Path(root, facts.folder)
    if facts.rendered and find_folder(folder, facts.images) is None:
        _render(facts, folder)
    there = find_folder(folder, facts.images)
    wanted = [archive for archive in facts.archives if there is None or _archive(folder, archive).exists()]
    wanted += [file for file in facts.files if find_folder(folder, file.file) is None and not _shared(root, file)]
    for archive in wanted:
        if not download and not _archive(folder, archive).exists():
            raise UserError(
                f"{facts.name}: no {archive.file} under {folder}; DATASET.DOWNLOAD is False; "
                f"{missing_images_help(facts, folder)}"
            )
        try:
            _fetch_and_extract(archive, _archive(folder, archive), folder)
        except (UserError, OSError) as error:
            raise UserError(
                f"{facts.name}: no {archive.file} under {folder}; download failed ({_one_line(error)}); "
                f"{missing_images_help(facts, folder)}"
            ) from error
    found = find_folder(folder, facts.images)
    if found is None:
        raise UserError(f"{facts.name}: no folder {folder / facts.images}; {missing_images_help(facts, folder)}")
    return found


def _shared(root: str | Path, file: Archive) -> bool:
    """Return whether another dataset's folder has the file: the class names of ImageNet serve its variants."""
    return Path(root, "imagenet", file.file).is_file()


def _archive(folder: Path, archive: Archive) -> Path:
    return folder / DOWNLOAD_FOLDER / archive.file


def missing_images_help(facts: ImageSet, folder: Path) -> str:
    """How to go on by hand, and the command that needs no data."""
    links = [f"{file.file} from {file.link}" for file in (*facts.files, *facts.archives)]
    links += [f"all of it from {MIRROR}"] if facts.mirrored else []
    by_hand = f"put {facts.images or 'the images'} into {folder}" + (f" ({', '.join(links)})" if links else "")
    return f"remove {folder}" if facts.rendered else f"{by_hand}; without any data: {MINI_B2N_COMMAND}"


def _render(facts: DomainSet | ImageSet, folder: Path) -> None:
    from promptshift.mini import render_world  # only these datasets need the renderer
    from promptshift.mini.worlds import PER_CLASS, WORLDS

    log.info(f"Rendering the mini world {facts.name} into {folder}")
    try:
        render_world(WORLDS[facts.name], folder, PER_CLASS.get(facts.name, MINI_PER_CLASS), seed=MINI_SEED)
    except OSError as error:
        raise UserError(f"{facts.name}: cannot write {folder} ({error}); give a writable folder with --root") from error


def _archives_wanted(facts: DomainSet, place: Place | None, folder: Path, needed: list[str]) -> list[Archive]:
    """Archives to fetch: unfinished ones, and those of missing domains where domains come one by one."""
    present = place.domain_dirs if place else {}
    return [
        archive
        for archive in facts.archives
        if (folder / DOWNLOAD_FOLDER / archive.file).exists()
        or (archive.domain in needed and archive.domain not in present if archive.domain else not present)
    ]


def _download(facts: DomainSet, archive: Archive, folder: Path, needed: list[str]) -> None:
    path = folder / DOWNLOAD_FOLDER / archive.file
    try:
        _fetch_and_extract(archive, path, folder)
    except (UserError, OSError) as error:
        raise UserError(
            f"{_not_found(facts, folder, needed)}; download failed ({_one_line(error)}); "
            f"{missing_data_help([archive], folder)}"
        ) from error


def _download_splits(facts: DomainSet, folder: Path) -> None:
    """Fetch the published splits; without them our own are made, which the caller's log names."""
    archive = facts.split_archive
    if archive is None:
        return
    path, target = folder / DOWNLOAD_FOLDER / archive.file, folder / (facts.lists or PUBLISHED_FOLDERS[0])
    if target.is_dir() and not path.exists():
        return
    try:
        _fetch_and_extract(archive, path, target)
    except (UserError, OSError) as error:
        log.info(f"{facts.name}: no published splits from {archive.link} ({_one_line(error)})")


def _fetch_and_extract(archive: Archive, path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        log.info(f"Downloading {archive.link} to {path}")
        fetch(archive.source, str(path), gdrive=archive.gdrive)
    if path.suffix in (".json", ".txt"):  # not an archive but the file itself
        path.replace(target / path.name)
        return
    log.info(f"Extracting {path} into {target}")
    safe_extract(str(path), str(target))
    path.unlink()


def _not_found(facts: DomainSet, folder: Path, needed: list[str]) -> str:
    return f"{facts.name}: no images of {', '.join(needed)} under {folder}"


def missing_data_help(archives: Sequence[Archive], folder: Path) -> str:
    """How to go on by hand, and the command that needs no data."""
    links = ", ".join(f"{archive.link} as {folder / DOWNLOAD_FOLDER / archive.file}" for archive in archives)
    by_hand = f"put {links}, or the unpacked domain folders into {folder / 'images'}; " if links else ""
    return f"{by_hand}without any data: {MINI_COMMAND}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
