"""What a flood of connections without a token costs a run with a live view.

A run that records is watched by a viewer who has the token, alone and under attack in turns. The
attacker keeps thousands of connections half-open (nothing, or half a header) and slow (a byte a
second); each that is cut is opened again. The run has one core and the usual 1,024 descriptors,
attacker and viewer have the other core: what the attacker computes is not the run's cost, what the
server computes is.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import av

from ...errors import RequestError, UnitrackError
from ...runtime.bundle.bundle import Bundle
from ..clip import write_clip
from ..script import Result, Script

TARGET = 0.9
"""Of the FPS alone, at least."""
MOST_LOG_LINES = 100
DESCRIPTORS = 1024
TOKEN = "a token that the attacker does not know"
HEADER = b"GET /state HTTP/1.1\r\nHost: box\r\n"


@dataclass(slots=True, eq=False)
class _Client:
    address: str
    slow: bool
    partial: bool
    sent: int = 0
    socket: socket.socket | None = None
    due: float = 0.0  # when it acts next: opens, or sends a byte


@dataclass(slots=True)
class Attacker:
    """Keeps connections open that never finish a request.

    Attributes:
        place: Host and port of the server.
        half_open: Connections that send nothing (every second one half a header), and then wait.
        slow: Connections that send a byte of an endless header each second.
        addresses: Of this machine, that they come from in turn; 1: all from 127.0.0.1.
        pause_s: Until a connection that was cut is opened again.
        opened: Connections opened so far.
        cut: Those that the server has cut.
    """

    place: tuple[str, int]
    half_open: int
    slow: int
    addresses: int = 1
    pause_s: float = 1.0
    opened: int = 0
    cut: int = 0
    _clients: list[_Client] = field(default_factory=list)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def run(self, seconds: float, stop: threading.Event | None = None) -> None:
        """Attack for so long, or until `stop` is set."""
        stop = stop or threading.Event()
        for number in range(self.half_open + self.slow):
            slow = number >= self.half_open
            address = f"127.0.{number % self.addresses // 250}.{number % self.addresses % 250 + 1}"
            self._clients.append(_Client(address, slow, slow or number % 2 == 1))
        end = time.monotonic() + seconds
        while time.monotonic() < end and not stop.is_set():
            for key, _ in self._selector.select(0.02):
                self._hear(key.data)
            now = time.monotonic()
            for client in self._clients:
                if client.due <= now:
                    self._act(client, now)
        for client in self._clients:
            if client.socket is not None:
                client.socket.close()
        self._selector.close()

    def _act(self, client: _Client, now: float) -> None:
        if client.socket is None:
            client.socket = socket.socket()
            client.socket.setblocking(False)
            client.socket.bind((client.address, 0))
            client.socket.connect_ex(self.place)
            client.sent = 0
            client.due = now + 0.05 if client.partial else float("inf")
            self._selector.register(client.socket, selectors.EVENT_READ, client)
            self.opened += 1
            return
        text = HEADER if client.sent == 0 else b"x"
        try:
            client.socket.send(text)
        except BlockingIOError:  # not yet connected
            client.due = now + 0.2
            return
        except OSError:
            self._lost(client)
            return
        client.sent += len(text)
        client.due = now + 1.0 if client.slow else float("inf")

    def _hear(self, client: _Client) -> None:
        try:
            if client.socket is not None and client.socket.recv(4096):
                return
        except OSError:
            pass
        self._lost(client)

    def _lost(self, client: _Client) -> None:
        if client.socket is not None:
            self._selector.unregister(client.socket)
            client.socket.close()
            client.socket = None
            self.cut += 1
            client.due = time.monotonic() + self.pause_s


@dataclass(slots=True)
class Viewer:
    """Asks for an image on a connection of its own, again and again; a context manager.

    Attributes:
        url: Of the server.
        waits_s: How long each answer took.
        failures: What went wrong instead.
    """

    url: str
    waits_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            start = time.monotonic()
            wanted = urllib.request.Request(
                f"{self.url}image/long", headers={"Authorization": f"Bearer {TOKEN}"}
            )
            try:
                with urllib.request.urlopen(wanted, timeout=10) as answer:
                    answer.read()
                self.waits_s.append(time.monotonic() - start)
            except OSError as error:
                self.failures.append(str(error))

    def __enter__(self) -> Viewer:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()


@dataclass(frozen=True, slots=True)
class Window:
    """What happened in some seconds: frames, seconds of processor time, wall time, descriptors."""

    frames: int
    cpu_s: float
    wall_s: float
    descriptors: int

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.frames / self.wall_s


class _Run:
    """A tracker in a process of its own."""

    def __init__(
        self, bundle: Path, folder: Path, frames: int, core: set[int], fps: float | None
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.folder = folder
        self._lines = folder / "lines.jsonl"
        clip = write_clip(folder, frames)
        arguments = ["track", str(clip), "--task", "mot", "--detector", "motion", "--threads", "1"]
        arguments += ["--bundle", str(bundle), "--save-video", "--jsonl", str(self._lines)]
        arguments += ["--mot-height", "96", "--mot-width", "128", "--output", str(folder / "run")]
        arguments += ["--realtime", "--fps", str(fps)] if fps else []
        arguments += ["--serve", f"127.0.0.1:{self.port}", "--mot-min-area", "10"]

        self._log = (folder / "log.txt").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "unitrack_edge.cli", *arguments],
            env=os.environ | {"UNITRACK_TOKEN": TOKEN},
            stdout=self._log,
            stderr=self._log,
        )
        pid = self.process.pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        os.sched_setaffinity(pid, core)
        while not self._lines.exists() or self.lines() < 50:
            if self.process.poll() is not None:
                raise UnitrackError((folder / "log.txt").read_text().strip())
            time.sleep(0.2)

    def lines(self) -> int:
        with self._lines.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))

    def _cpu_s(self) -> float:
        path = Path(f"/proc/{self.process.pid}/stat")
        fields = path.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def watch(self, seconds: float) -> Window:
        """Count for so long."""
        frames, start = self.lines(), time.monotonic()
        cpu, most = self._cpu_s(), 0
        while time.monotonic() < start + seconds and self.process.poll() is None:
            most = max(most, len(list(Path(f"/proc/{self.process.pid}/fd").iterdir())))
            time.sleep(0.2)
        if self.process.poll() is not None:
            return Window(self.lines() - frames, 0.0, time.monotonic() - start, most)
        return Window(self.lines() - frames, self._cpu_s() - cpu, time.monotonic() - start, most)

    def end(self) -> tuple[int, int, int, list[str]]:
        """Stop it: exit status, frames tracked, frames recorded, lines of its log."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(60)
        self._log.close()
        with av.open(str(self.folder / "run" / "video.mp4")) as video:
            recorded = sum(1 for _ in video.decode(video=0))
        log = (self.folder / "log.txt").read_text().splitlines()
        return status, self.lines(), recorded, log


def _attack(options: argparse.Namespace, port: int, seconds: float) -> subprocess.Popen[str]:
    arguments = ["--attack", str(port), "--seconds", str(seconds), "--half-open"]
    arguments += [str(options.half_open), "--slow", str(options.slow)]
    arguments += ["--addresses", str(options.addresses), "--pause", str(options.pause)]
    return subprocess.Popen(
        [sys.executable, "-m", "unitrack_edge.benchmarks.endurance.flood", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )


def _measure(options: argparse.Namespace) -> Result:
    Bundle.load(options.bundle)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(cores[1:]) or set(cores))
    with tempfile.TemporaryDirectory() as name:
        run = _Run(options.bundle, Path(name), options.frames, {cores[0]}, options.fps)
        windows: list[tuple[str, Window]] = []
        attacks: list[dict[str, int]] = []
        with Viewer(f"http://127.0.0.1:{run.port}/") as viewer:
            for _ in range(options.rounds):
                windows.append(("alone", run.watch(options.seconds / 2)))
                attacker = _attack(options, run.port, options.seconds + 3)
                time.sleep(2)  # until all are open
                windows.append(("attacked", run.watch(options.seconds)))
                attacks.append(json.loads(attacker.communicate()[0]))
                time.sleep(1)
                windows.append(("alone", run.watch(options.seconds / 2)))
        status, tracked, recorded, log = run.end()
    lines = [
        f"{what:8s} {window.fps:7.1f} FPS, {window.frames / max(window.cpu_s, 1e-9):7.1f} frames a "
        f"CPU second, at most {window.descriptors} descriptors"
        for what, window in windows
    ]
    fps = {
        kind: [window.fps for what, window in windows if what == kind]
        for kind in ("alone", "attacked")
    }
    ratio = statistics.mean(fps["attacked"]) / statistics.mean(fps["alone"])
    alone = [window for what, window in windows if what == "alone"]
    attacked = [window for what, window in windows if what == "attacked"]
    a_frame = sum(w.cpu_s for w in alone) / max(1, sum(w.frames for w in alone))
    more = sum(w.cpu_s - w.frames * a_frame for w in attacked) / sum(w.wall_s for w in attacked)
    for number, attack in enumerate(attacks):
        lines.append(f"attack {number}: {attack['opened']} opened, {attack['cut']} cut")
    waits = sorted(viewer.waits_s) or [float("nan")]
    lines += [
        f"FPS attacked / alone: {ratio:.3f} (target {TARGET}); beside its frames the run takes "
        f"{100 * more:.1f} % of a core more",
        f"viewer: {len(viewer.waits_s)} answers, median {1e3 * statistics.median(waits):.0f} ms, "
        f"slowest {1e3 * waits[-1]:.0f} ms, {len(viewer.failures)} failures "
        f"{sorted(set(viewer.failures))[:3]}",
        f"exit {status}, {tracked} frames tracked, {recorded} recorded, {len(log)} lines of log",
    ]
    good = ratio >= TARGET and not viewer.failures and viewer.waits_s
    whole = status == 130 and tracked == recorded and len(log) < MOST_LOG_LINES
    complaint = "" if good and whole else "the flood costs more than it may"
    print("\n".join(log[-5:]))
    return Result("flood", lines, {"fps": fps, "ratio": ratio}, complaint)


script = Script(__doc__, rounds=1, saves=True)
script.add_argument("--bundle", type=Path)
script.number("--half-open", 2000, "connections", least=0)
script.number("--slow", 200, "connections", least=0)
script.number("--addresses", 1, "that the attacker comes from")
script.number("--pause", 1.0, "seconds until one is opened again", least=0.1)
script.number("--seconds", 60.0, "of an attack", least=0.1)
script.number("--frames", 30_000, "of the clip")
script.number("--fps", None, "of a live source; without, as fast as it can", least=0.1)
script.number("--attack", None, "port to attack, and no more", most=65535)


@script.does
def main(options: argparse.Namespace) -> Result | None:
    """Measure; a complaint where the flood costs more than it may."""
    if options.attack is None:
        if options.bundle is None:
            raise RequestError("--bundle is needed")
        return _measure(options)
    place = "127.0.0.1", options.attack
    attacker = Attacker(place, options.half_open, options.slow, options.addresses, options.pause)
    attacker.run(options.seconds)
    print(json.dumps({"opened": attacker.opened, "cut": attacker.cut}))
    return None
