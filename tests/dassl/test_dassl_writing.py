"""Files are whole or absent, whatever happens to the process and to the disk."""

import errno
import os
import subprocess
import sys
import threading
import time

import pytest
import torch
from safetensors.torch import save_file

from dassl.utils import save_checkpoint, write_json
from dassl.utils.errors import UserError, WriteError, shorten
from dassl.utils.logger import Logger
from dassl.utils.writing import atomic_path, remove_stale_temporaries, write_problem
from helpers.full_disk import files_end_at

WRITE_FOR_EVER = """
import sys
from dassl.utils.writing import atomic_path
with atomic_path(sys.argv[1]) as temporary, open(temporary, "wb") as file:
    print("writing", flush=True)
    while True:
        file.write(b"x")
        file.flush()
        file.seek(0)
"""


def save_tensors(folder):
    with atomic_path(folder / "file.pt") as temporary:
        save_file({"a": torch.zeros(10_000)}, temporary)


WRITERS = {
    "json": lambda folder: write_json(["x" * 100] * 1000, folder / "file.pt"),
    "checkpoint": lambda folder: save_checkpoint(
        {"state_dict": {"a": torch.zeros(10_000)}, "epoch": 1}, folder, model_name="file.pt"
    ),
    "safetensors": save_tensors,
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, writer):
    (tmp_path / "file.pt").write_text("old")
    with files_end_at(8192), pytest.raises(UserError) as error:
        writer(tmp_path)
    line = str(error.value)
    assert "the disk is full" in line and str(tmp_path / "file.pt") in line and "\n" not in line
    assert os.listdir(tmp_path) == ["file.pt"] and (tmp_path / "file.pt").read_text() == "old"
    writer(tmp_path)
    assert (tmp_path / "file.pt").stat().st_size > 8192


def test_the_reason_is_the_systems_own(tmp_path):
    assert "the disk is full" in write_problem(OSError(errno.ENOSPC, "No space left on device"))
    assert write_problem(OSError(errno.EROFS, "Read-only file system")) == "Read-only file system"
    assert write_problem(FileNotFoundError(errno.ENOENT, "No such file")) is None
    assert write_problem(ValueError("no space")) is None
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="file/below") as error, atomic_path(tmp_path / "file" / "below"):
        pass
    assert error.value.errno in (errno.ENOTDIR, errno.EEXIST) and isinstance(error.value, OSError)


def test_other_errors_in_the_block_are_left_alone(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path):
    command = [sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path / "file")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"writing\n"
            (temporary,) = tmp_path.iterdir()
            remove_stale_temporaries(tmp_path)
            write_json([], tmp_path / "other")
            assert temporary.exists()
        finally:
            process.kill()
    assert temporary.exists()
    write_json([], tmp_path / "other")
    assert os.listdir(tmp_path) == ["other"]


def test_sweeping_all_the_time_costs_no_writer_its_file(tmp_path):
    stop = threading.Event()

    def sweep():
        while not stop.is_set():
            remove_stale_temporaries(tmp_path)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for number in range(200):
            with atomic_path(tmp_path / f"{number}") as temporary, open(temporary, "w") as file:
                file.write("all of it")
    finally:
        stop.set()
        sweeper.join()
    assert {path.read_text() for path in tmp_path.iterdir()} == {"all of it"} and len(os.listdir(tmp_path)) == 200


MANY = """
import sys, numpy
from safetensors.numpy import save_file
from dassl.utils.writing import atomic_path
for _ in range(20):
    with atomic_path(sys.argv[1]) as temporary:
        save_file({"a": numpy.zeros(100)}, temporary)
"""


def test_many_processes_write_one_file_at_the_same_time(tmp_path):
    """Each sweeps what others left, and safetensors puts another file in the place of the temporary one."""
    command = [sys.executable, "-c", MANY, str(tmp_path / "file.safetensors")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        assert process.communicate(timeout=300)[1] == "" and process.returncode == 0
    assert os.listdir(tmp_path) == ["file.safetensors"]


def test_leftovers_in_the_folders_of_a_run_are_swept(tmp_path):
    (tmp_path / "model").mkdir()
    stale = [tmp_path / ".tmp-1-result.json", tmp_path / "model" / ".tmp-99-model.pth.tar-2"]
    kept = [tmp_path / ".tmp-file", tmp_path / "model" / "tmp-1-x", tmp_path / ".tmp-x-1"]
    for path in [*stale, *kept]:
        path.write_text("")
    remove_stale_temporaries(tmp_path, subfolders=True)
    assert not any(path.exists() for path in stale) and all(path.exists() for path in kept)
    remove_stale_temporaries(tmp_path / "nowhere")


def test_a_log_that_cannot_grow_is_named_once(tmp_path, capsys):
    with files_end_at(4096), Logger(str(tmp_path / "log.txt")) as log:
        with pytest.raises(WriteError, match="log.txt: the disk is full"):
            for _ in range(1000):
                log.write("x" * 99 + "\n")
        log.write("the message about it\n")
    assert (tmp_path / "log.txt").stat().st_size == 4096
    assert capsys.readouterr().out.endswith("the message about it\n")


def test_values_of_any_size_are_quoted_shortened():
    assert shorten("short") == "short" and shorten(KeyError()) == "KeyError"
    assert shorten("two\nlines\r\nand more") == "two lines and more"
    long = shorten("a" * 100_000 + "b" * 100_000, 100)
    assert len(long) == 100 and long.startswith("aaa") and long.endswith("bbb") and " ... " in long
    assert shorten(os.fsdecode(b"caf\xe9")) == "caf\\udce9"
    line = str(UserError(f"KEY: {'x' * 100_000}\nis wrong, allowed: 1"))
    assert len(line) <= 2000 and line.startswith("KEY: xx") and line.endswith("allowed: 1") and "\n" not in line


def test_files_are_on_disk_before_they_are_renamed(tmp_path, monkeypatch):
    calls, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), sync(fd)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    start = time.process_time()
    write_json([1], tmp_path / "file")
    assert calls == ["fsync", "replace"] and time.process_time() - start < 1


def test_a_folder_that_is_gone_again_is_an_error_and_no_endless_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "makedirs", lambda *words, **more: None)
    with pytest.raises(OSError), atomic_path(tmp_path / "gone" / "file"):
        pass
