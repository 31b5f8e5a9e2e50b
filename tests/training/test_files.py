"""Files that anybody may have made, and files of which none is half one."""

import errno
import json
import os

import pytest

from spectral_stride.torch.training import files
from spectral_stride.torch.training.files import (
    LARGEST_TEXT,
    UnreadableError,
    read_json,
    read_text,
    write_json,
    write_whole,
)

pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


def sparse(path):
    """A file that says to be large, and takes no room."""
    with path.open("wb") as file:
        file.truncate(LARGEST_TEXT + 1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "FileNotFoundError: No such file"),
        (lambda path: path.mkdir(), "Is a directory"),
        pytest.param(lambda path: os.mkfifo(path), "no regular file", marks=pipes),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), "no regular file", marks=pipes),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (sparse, "bytes, of at most"),
        (lambda path: path.write_bytes(b"a\xff"), "no UTF-8 at byte 1"),
    ],
)
def test_what_is_no_file_of_text_is_refused_at_once(tmp_path, make, reason):
    make(tmp_path / "file")
    with pytest.raises(UnreadableError, match=reason):
        read_text(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "JSONDecodeError"),
        ("{", "JSONDecodeError"),
        ("[" * 100_000, "too many brackets"),
        ('{"a":' * 100_000, "too many brackets"),
        ("1" * 5000, "ValueError: Exceeds the limit"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path, text, reason):
    (tmp_path / "file").write_text(text)
    with pytest.raises(UnreadableError, match=reason) as caught:
        read_json(tmp_path / "file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("leads", ["out", "through a folder", "in a circle"])
def test_no_link_leads_out_of_a_folder(tmp_path, leads):
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir()
    other.mkdir()
    (other / "file").write_text("secret")
    path = run / "folder" / "file"
    if leads == "through a folder":
        (run / "folder").symlink_to(other)
    else:
        path.parent.mkdir()
        path.symlink_to(other / "file" if leads == "out" else path)
    with pytest.raises(UnreadableError, match="a link that leads out of the folder"):
        read_text(path, within=run)
    (run / "own").write_text("mine")
    (run / "link").symlink_to(run / "own")
    assert read_text(run / "link", within=run) == "mine"
    (tmp_path / "elsewhere").symlink_to(run)
    assert read_text(tmp_path / "elsewhere" / "own", within=tmp_path / "elsewhere") == "mine"


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    """And then its name is."""
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda n: calls.append(os.fstat(n).st_ino) or fsync(n))
    monkeypatch.setattr(files.os, "replace", lambda a, b: calls.append("replace") or replace(a, b))
    write_whole(tmp_path / "file", b"content")
    inodes = [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]
    assert calls == [inodes[0], "replace", inodes[1]]


def test_what_was_there_outlives_a_write_that_fails(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_json(path, {"a": 1})

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", full)
        with pytest.raises(OSError, match="No space left") as caught:
            write_json(path, {"a": 2})
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]  # what was begun makes room again


def test_what_is_written_follows_no_link(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    for name in ("file", "file.part"):
        (tmp_path / name).symlink_to(mine)
    write_whole(tmp_path / "file", b"content")
    assert mine.read_text() == "mine"
    assert (tmp_path / "file").read_text() == "content"
    assert not (tmp_path / "file").is_symlink()
