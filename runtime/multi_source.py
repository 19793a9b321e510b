"""Several sources on one loaded bundle, in turns: a source with a new frame gets the backbone.

Heads, identities and results of the sources are independent; only the graphs are shared.
Frames whose images are of one size may go through the backbone together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np

from ..errors import RequestError, UnitrackError
from .events import StopRequest
from .inference.base import Array, Graphs, to_host
from .pipeline import OnFrame, Pipeline, Prepared
from .preprocessing import FeatureMap
from .sources.base import PolledSource

_NAP_S = 0.002


@dataclass(slots=True)
class Stream:
    """One source of a multi-source run.

    Attributes:
        source: Where its frames come from.
        pipeline: Its heads and writers.
        max_frames: How many frames at most.
        on_frame: Called after every frame.
        on_end: Called once, when the source is done, with the error that ended it, or None.
        done: Whether the source has ended.
        joined_s: Seconds from the run's beginning to the source's first frame.
    """

    source: PolledSource
    pipeline: Pipeline
    max_frames: int | None
    on_frame: OnFrame
    on_end: Callable[[UnitrackError | None], None]
    done: bool = False
    joined_s: float = 0.0

    def end(self, error: UnitrackError | None = None) -> None:
        """Leave the multi-source run."""
        self.done = True
        self.on_end(error)


class LateStreams(Protocol):
    """Sources that were not there when the run began.

    Attributes:
        pending: How many of them are still waited for.
    """

    @property
    def pending(self) -> int: ...

    def take(self) -> list[Stream]:
        """Those that have come since the last call, ready to run."""


class MultiSource:
    """Runs the pipelines of several sources in one loop, in which none waits for another's camera.

    While the backbone works on the frames of some sources, a second thread runs the heads of those
    before them. A source whose pipeline raises an error of this project is removed; the others
    continue.

    Args:
        graphs: Runs `backbone`.
        streams: The sources.
        overlap: Whether heads may run in a thread of their own. Windows cannot be opened there, and
            backends that compute on a device take work from one thread only.
        batch: Most frames in one pass of the backbone. On two cores, where one image keeps both
            busy, passes of two or four were slower than one after the other.
        late: Sources that may come while the run goes on; None: none.
    """

    def __init__(
        self,
        graphs: Graphs,
        streams: Sequence[Stream],
        *,
        overlap: bool = True,
        batch: int = 1,
        late: LateStreams | None = None,
    ) -> None:
        self._graphs = graphs
        self._streams = list(streams)
        self._late = late
        self._batch = batch
        self._overlap = overlap and on_host(graphs)
        self._in_hand: dict[int, Future[None]] = {}

    def run(self, stop: StopRequest) -> None:
        """Work until every source has come and ended, or the user stops."""
        if not self._streams:
            self._wait_for_one(stop)
        if len(self._streams) <= 1 and not self._pending:
            for stream in self._streams:
                self._run_alone(stream, stop)
            return
        start = time.perf_counter()
        turn = 0
        with ThreadPoolExecutor(1, "heads") as worker:
            try:
                while not stop.is_set and (self._pending or not all(m.done for m in self._streams)):
                    self._welcome(time.perf_counter() - start)
                    ready = self._ready(turn)
                    if ready:
                        turn = ready[-1] + 1
                        self._round([self._streams[row] for row in ready], worker)
                    else:
                        stop.is_waiting = True
                        wait(self._in_hand.values(), _NAP_S)
                        if not self._in_hand:
                            time.sleep(_NAP_S)
                        stop.is_waiting = False
                    self._settle(time.perf_counter() - start)
            except KeyboardInterrupt:
                stop.is_set = True
            finally:
                stop.is_waiting = False
        self._settle(time.perf_counter() - start)
        for stream in self._streams:
            if not stream.done:
                stream.pipeline.interrupted = stop.is_set
                stream.end()

    @property
    def _pending(self) -> int:
        return 0 if self._late is None else self._late.pending

    def _welcome(self, elapsed_s: float) -> None:
        """Let sources that have come since join."""
        if self._late is not None and self._late.pending:
            for stream in self._late.take():
                stream.joined_s = elapsed_s
                self._streams.append(stream)

    def _wait_for_one(self, stop: StopRequest) -> None:
        """Wait until a source is there, or none is waited for any more."""
        try:
            while self._pending and not self._streams and not stop.is_set:
                stop.is_waiting = True
                time.sleep(_NAP_S)
                stop.is_waiting = False
                self._welcome(0.0)
        except KeyboardInterrupt:
            stop.is_set = True
        finally:
            stop.is_waiting = False

    def _run_alone(self, stream: Stream, stop: StopRequest) -> None:
        """One source can be waited for, and no other source has work for a second thread."""
        error: UnitrackError | None = None
        try:
            stream.pipeline.run(stop, max_frames=stream.max_frames, on_frame=stream.on_frame)
        except UnitrackError as failure:
            error = failure
        stream.end(error)

    def _ready(self, turn: int) -> list[int]:
        """Rows of the next streams that have a frame and no work in progress, in turns."""
        count = len(self._streams)
        rows = [(turn + step) % count for step in range(count)]
        ready = (
            row
            for row in rows
            if not self._streams[row].done
            and id(self._streams[row]) not in self._in_hand
            and self._streams[row].source.ready()
        )
        return list(islice(ready, self._batch))

    def _round(self, ready: Sequence[Stream], worker: ThreadPoolExecutor) -> None:
        taken: list[tuple[Stream, Prepared]] = []
        for stream in ready:
            try:
                prepared = stream.pipeline.take()
            except UnitrackError as error:
                stream.end(error)
                continue
            if prepared is None:
                stream.pipeline.exhausted = True
                stream.end()
            else:
                taken.append((stream, prepared))
        for batch in batches([prepared for _, prepared in taken]):
            together = [taken[row] for row in batch]
            try:
                features = self._extract(together)
            except UnitrackError as error:
                for stream, _ in together:
                    stream.end(error)
                continue
            for (stream, prepared), found in zip(together, features, strict=True):
                work = (stream, prepared, found)
                submit = worker.submit if self._overlap else _at_once
                self._in_hand[id(stream)] = submit(_finish, *work)

    def _settle(self, elapsed_s: float) -> None:
        """Collect the frames that the heads have finished."""
        for stream in self._streams:
            work = self._in_hand.get(id(stream))
            if work is None or not work.done():
                continue
            del self._in_hand[id(stream)]
            stream.pipeline.elapsed_s = elapsed_s - stream.joined_s
            error = work.exception()
            if isinstance(error, UnitrackError):
                stream.end(error)
            elif error is not None:
                raise error
            elif stream.pipeline.frames == stream.max_frames:
                stream.end()

    def _extract(self, batch: Sequence[tuple[Stream, Prepared]]) -> list[list[FeatureMap]]:
        """Features of each frame's images, which are as many and of the same sizes in all."""
        views = [prepared.views for _, prepared in batch]
        if not views[0].images:
            return [[] for _ in batch]
        start = time.perf_counter()
        parts = [self._run([v.images[k] for v in views]) for k in range(len(views[0].images))]
        share_s = (time.perf_counter() - start) / len(batch)
        for stream, prepared in batch:
            stream.pipeline.note(prepared.stages_s, "backbone", share_s)
        stride = self._graphs.spec.stride
        return [
            [
                FeatureMap(part[row], letterbox, stride)
                for part, letterbox in zip(parts, view.letterboxes, strict=True)
            ]
            for row, view in enumerate(views)
        ]

    def _run(self, images: Sequence[Array]) -> list[Array]:
        """Features of images of one size, one array each."""
        if len(images) == 1:
            return list(self._graphs.run("backbone", images[0]))
        (found,) = self._graphs.run("backbone", np.concatenate([to_host(i) for i in images]))
        if not isinstance(found, np.ndarray):
            return list(found.rows())
        # Copies, so that a head that remembers one frame does not keep all of them.
        return [np.array(row[None]) for row in found]


def _finish(stream: Stream, prepared: Prepared, features: Sequence[FeatureMap]) -> None:
    stream.on_frame(prepared.frame, stream.pipeline.finish(prepared, features))


def _at_once(
    work: Callable[[Stream, Prepared, Sequence[FeatureMap]], None],
    stream: Stream,
    prepared: Prepared,
    features: Sequence[FeatureMap],
) -> Future[None]:
    """What a worker's `submit` does, in this thread."""
    done: Future[None] = Future()
    try:
        work(stream, prepared, features)
        done.set_result(None)
    except UnitrackError as error:
        done.set_exception(error)
    return done


def on_host(graphs: Graphs) -> bool:
    """Whether the graphs compute on the CPU."""
    return isinstance(graphs.place(np.zeros(1, np.float32)), np.ndarray)


def check_batch(graphs: Graphs, batch: int) -> None:
    """Check that the backbone takes so many images at once.

    Raises:
        RequestError: It does not.
    """
    limit = batch_limit(graphs) if batch > 1 else None
    if limit is not None and batch > limit:
        raise RequestError(
            f"--batch {batch}: the backbone of this bundle and backend takes {limit} at once; "
            "leave out --batch"
        )


def batch_limit(graphs: Graphs) -> int | None:
    """How many images the backbone takes at once; None: any number."""
    fixed = graphs.spec.graphs["backbone"].inputs[0].shape[0]
    return fixed if isinstance(fixed, int) else graphs.limit("backbone", 0, 0)


def batches(prepared: Sequence[Prepared]) -> list[list[int]]:
    """Rows of frames that can go through the backbone together, in their order.

    Returns:
        Every row once; rows of a batch have as many images, of the same shapes.
    """
    groups: dict[object, list[int]] = {}
    for row, item in enumerate(prepared):
        shapes = tuple(image.shape for image in item.views.images)
        groups.setdefault(shapes, []).append(row)
    return list(groups.values())
