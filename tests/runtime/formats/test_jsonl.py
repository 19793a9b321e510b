"""Lines of JSON on a disk that is full for a while."""

import errno
import json

import pytest
from unitrack_edge.runtime.formats import jsonl
from unitrack_edge.runtime.formats.jsonl import JsonLinesWriter

from ...support.servers.live_run import event


class Tight:
    """A file that takes 20 bytes of a line and then says that the disk is full, while `full`."""

    def __init__(self, file):
        self._file = file
        self.full = False

    def write(self, data):
        if not self.full:
            return self._file.write(data)
        if len(data) > 20 and self._file.tell() % 7 != 3:
            self._file.write(data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.fixture
def tight(monkeypatch):
    made = []
    real = jsonl._open

    def opened(target):
        made.append(Tight(real(target)))
        return made[0]

    monkeypatch.setattr(jsonl, "_open", opened)
    return made


def test_lines_go_on_when_there_is_room_again_and_none_is_torn(tight, tmp_path):
    path, said = tmp_path / "lines.jsonl", []
    with JsonLinesWriter(str(path), say=said.append) as writer:
        for number in range(12):
            tight[0].full = number % 4 in (1, 2)
            writer.on_frame(event(number))
        assert writer.lost == 6
        assert writer.error is None
    kept = [json.loads(line)["frame"] for line in path.read_text().splitlines()]
    assert kept == [0, 3, 4, 7, 8, 11]
    assert [("disk full" in line, "2 lines lost" in line) for line in said] == [
        (True, False),
        (False, True),
    ] * 3


def test_what_was_in_the_file_that_standard_output_is_appended_to_stays(
    tight, tmp_path, monkeypatch
):
    path = tmp_path / "all.jsonl"
    path.write_text("before\n")
    with path.open("a") as appended:
        monkeypatch.setattr(jsonl.sys, "stdout", appended)
        with JsonLinesWriter("-") as writer:
            tight[0].full = True
            writer.on_frame(event(0))
            tight[0].full = False
            writer.on_frame(event(1))
    lines = path.read_text().splitlines()
    assert lines[0] == "before"
    assert [json.loads(line)["frame"] for line in lines[1:]] == [1]
    assert b"\0" not in path.read_bytes()
