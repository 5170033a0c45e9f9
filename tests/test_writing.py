"""A file is written at once or not at all, whoever writes beside and whatever was there."""

import os
import stat
import threading

import pytest

from skantidistill.writing import write_whole


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "a"
    for content in (b"one", b"other", b""):
        write_whole(path, content)
        assert path.read_bytes() == content
        assert list(tmp_path.iterdir()) == [path]


def test_writers_at_the_same_time_never_show_half_a_file(tmp_path):
    path, contents = tmp_path / "a", [bytes([letter]) * 2**20 for letter in b"abc"]
    write_whole(path, contents[0])
    errors, written = [], threading.Event()

    def write(content):
        try:
            for _ in range(10):
                write_whole(path, content)
        except OSError as error:
            errors.append(error)

    def read():
        while not written.is_set():
            if path.read_bytes() not in contents:
                errors.append("half a file")

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    written.set()
    reader.join()
    assert errors == []
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_the_disk_before_it_has_the_files_name(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr("os.fsync", lambda number: (order.append("fsync"), fsync(number)))
    monkeypatch.setattr(
        type(tmp_path), "replace", lambda self, to: (order.append("replace"), replace(self, to))
    )
    write_whole(tmp_path / "a", b"content")
    assert order == ["fsync", "replace"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_a_file_keeps_its_permissions_and_a_new_one_has_the_usual_ones(tmp_path):
    (tmp_path / "usual").touch()
    path = tmp_path / "a"
    write_whole(path, b"one")
    assert mode(path) == mode(tmp_path / "usual")
    path.chmod(0o600)
    write_whole(path, b"other")
    assert mode(path) == 0o600


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "a", tmp_path / "link"
    link.symlink_to(target)
    for content in (b"one", b"other"):  # before there is a target, and after
        write_whole(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert list((tmp_path / "there").iterdir()) == [target]


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path):
    path = tmp_path / ("n" * 255)
    write_whole(path, b"content")
    assert path.read_bytes() == b"content"
