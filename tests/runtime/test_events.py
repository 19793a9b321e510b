"""What is kept of what happens to a source."""

from __future__ import annotations

from unitrack_edge.runtime.events import SourceLog


class Listener:
    def __init__(self):
        self.events = []

    def on_frame(self, event):
        raise AssertionError(event)

    def on_source(self, event):
        self.events.append((event.source, event.kind, event.message))


def test_observers_hear_everything_and_the_report_the_newest():
    listener = Listener()
    log = SourceLog("door", [listener])
    assert log.notes() == []
    for number in range(50):
        log.notify("lost", f"gone {number}")
        log.notify("returned", f"back {number}")
    log.ended("no more", failed=True)
    assert log.outages == 50
    assert len(listener.events) == 101
    assert listener.events[0] == ("door", "lost", "gone 0")
    assert listener.events[-1] == ("door", "failed", "no more")
    assert log.notes() == ["source: lost 50 times; back 48; gone 49; back 49"]
    assert len(log.messages) < 50
