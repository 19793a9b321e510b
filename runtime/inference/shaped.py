"""Sessions of one graph for shapes that come again.

On a GPU a session that takes any shape computes shapes on the CPU while it runs, with copies and
waits between its kernels, and plans all convolutions anew whenever the image has another size than
the last one (a tenth of a second with ResNet-18).  A session for given shapes does both once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..bundle.spec import GraphSpec
from .base import Array

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MOST = 16
"""Sessions of one graph that are kept: each holds its weights and its memory."""

_REMEMBERED = 256
"""Shapes that came once and are remembered."""

_Sizes = tuple[int, ...]
"""Of all dimensions that vary, in the order of the spec."""


class ShapedSessions:
    """Chooses the session of a run.

    Args:
        spec: What the graph takes; its named dimensions are those that vary.
        general: The session that takes any shape.
        open_for: Opens one for the sizes of named dimensions.
    """

    def __init__(
        self,
        spec: GraphSpec,
        general: InferenceSession,
        open_for: Callable[[Mapping[str, int]], InferenceSession],
    ) -> None:
        self._axes = [
            (tensor.name, axis, name)
            for tensor in spec.inputs
            for axis, name in enumerate(tensor.shape)
            if isinstance(name, str)
        ]
        self._general = general
        self._open_for = open_for
        # Both in the order of use, the newest last.
        self._sessions: dict[_Sizes, InferenceSession] = {}
        self._once: dict[_Sizes, None] = {}

    def of(self, feeds: Mapping[str, Array]) -> InferenceSession:
        """The session for these shapes: their own where they have come before."""
        if not self._axes:
            return self._general
        sizes = tuple(int(feeds[tensor].shape[axis]) for tensor, axis, _ in self._axes)
        session = self._sessions.pop(sizes, None)
        if session is None and sizes not in self._once:
            self._once[sizes] = None
            if len(self._once) > _REMEMBERED:
                del self._once[next(iter(self._once))]
            return self._general
        if session is None:
            names = (name for *_, name in self._axes)
            session = self._open_for(dict(zip(names, sizes, strict=True)))
            if len(self._sessions) >= MOST:
                del self._sessions[next(iter(self._sessions))]
        self._sessions[sizes] = session
        return session
