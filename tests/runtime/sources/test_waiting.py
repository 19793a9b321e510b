"""Sources that are not there yet, and a stop while a source is being reconnected."""

import threading

import numpy as np
import pytest
from unitrack_edge.errors import SourceAbsentError, SourceError
from unitrack_edge.runtime.sources import reconnect
from unitrack_edge.runtime.sources.reconnect import Connection, SourceWait, Timeouts

WAIT_S = 10.0


class Opened:
    def __init__(self):
        self.closed = threading.Event()

    def close(self):
        self.closed.set()


def test_the_source_is_taken_once_it_is_there(monkeypatch):
    monkeypatch.setattr(reconnect, "_FIRST_PAUSE_S", 0.0)
    source, tries, seen = Opened(), [], threading.Event()

    def attempt():
        tries.append(1)
        if len(tries) < 4:
            raise SourceAbsentError("no camera")
        seen.wait(WAIT_S)
        return source

    wait = SourceWait(attempt)
    wait.wait_for_first_attempt()
    assert (str(wait.absent), wait.done) == ("no camera", False)
    seen.set()
    wait._thread.join(WAIT_S)
    assert wait.done
    assert wait.take() is source
    wait.close()
    assert not source.closed.is_set()  # it belongs to the caller


def test_a_source_that_comes_after_the_end_is_closed():
    source, go = Opened(), threading.Event()

    def attempt():
        go.wait(WAIT_S)
        return source

    wait = SourceWait(attempt)
    wait.close()
    go.set()
    assert source.closed.wait(WAIT_S)
    with pytest.raises(SourceError, match="was closed"):
        wait.take()


def test_a_source_that_is_there_but_wrong_ends_the_waiting():
    def attempt():
        raise SourceError("no GStreamer")

    wait = SourceWait(attempt, give_up_s=None)
    wait.wait_for_first_attempt()
    with pytest.raises(SourceError, match="no GStreamer"):
        wait.take()


class Silent:
    """A capture that fails at once."""

    fps = None

    def __init__(self):
        self.released = threading.Event()

    def read(self):
        return None

    def release(self):
        self.released.set()


def test_a_stop_while_the_source_is_reopened_meets_no_thread_that_never_started(monkeypatch):
    monkeypatch.setattr(reconnect, "_RETRY_S", 0.0)
    monkeypatch.setattr(reconnect, "_GRACE_S", 0.0)
    opening, closing, second = threading.Event(), threading.Event(), Silent()

    def reopen():
        opening.set()
        closing.wait(WAIT_S)
        return second

    connection = Connection(
        Silent(), reopen, lambda *_: None, lambda *_: None, Timeouts(freeze_s=0.01)
    )
    connection.start(lambda _reason: None)
    assert opening.wait(WAIT_S)
    # The connection comes back just when `close` has begun.
    connection._stop.set()
    closing.set()
    connection.close()
    assert second.released.wait(WAIT_S)
    assert np.all([not t.is_alive() for t in (connection._thread,)])
