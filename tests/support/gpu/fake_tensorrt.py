"""As much of TensorRT as the runtime uses, computing with NumPy on the memory of a `FakeCuda`.

A plan is JSON: `{"graph": NAME}`.  A context computes at the time the device would, from what its
addresses then hold; one that was changed after it was recorded fails, as TensorRT may.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
from unitrack_edge.runtime.bundle.spec import EngineSpec
from unitrack_edge.runtime.inference.tensorrt.compatibility import platform_name
from unitrack_edge.runtime.inference.tensorrt.library import (
    VARIANT_TABLE,
    TensorrtLibrary,
    TensorrtLog,
)

VERSION = "10.13.0.35"
SCRATCH = 4096


def engine_spec(graph, inputs, *, plan=b"", **changes):
    """The `EngineSpec` of a plan, for the machine that `FakeCuda` stands for."""
    fields = {
        "graph": graph.name,
        "file": f"engines/{graph.name}.engine",
        "sha256": "",
        "size_bytes": len(plan),
        "onnx_sha256": graph.sha256,
        "variant": "tensorrt",
        "version": VERSION,
        "target": "sm86",
        "platform": platform_name(),
        "build_s": 0.1,
        "inputs": inputs,
        "products": {"float32": 1},
    }
    return EngineSpec(**fields | changes)


class FakeContext:
    """An execution context."""

    def __init__(self, engine):
        self.engine = engine
        self.shapes = {}
        self.addresses = {}
        self.scratch = None
        self.changes = 0

    def set_device_memory(self, address, size):
        self.scratch = (address, size)

    def set_input_shape(self, name, shape):
        low, high = self.engine.profile[name]
        fits = all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))
        if fits:
            self.shapes[name] = tuple(shape)
            self.changes += 1
        return fits

    def get_tensor_shape(self, name):
        if set(self.shapes) != {t.name for t in self.engine.graph.inputs}:
            return (-1,)
        if name in self.shapes:
            return self.shapes[name]
        zeros = [np.zeros(self.shapes[t.name], np.dtype(t.dtype)) for t in self.engine.graph.inputs]
        index = [t.name for t in self.engine.graph.outputs].index(name)
        return self.engine.compute(*zeros)[index].shape

    def set_tensor_address(self, name, address):
        if address % 256:
            self.engine.trt.logger.log(1, "The pointer must have at least 256-byte alignment.")
            return False
        self.addresses[name] = address
        self.changes += 1
        return True

    def execute_async_v3(self, stream):
        cuda, graph = self.engine.cuda, self.engine.graph
        assert stream == cuda.stream
        if self.engine.trt.fails_when_recorded and cuda._recording is not None:
            self.engine.trt.logger.log(2, "cannot be recorded")
            return False
        if self.engine.trt.fails:
            self.engine.trt.logger.log(2, "something broke inside")
            return False
        changes, shapes, addresses = self.changes, dict(self.shapes), dict(self.addresses)
        recorded = cuda._recording is not None
        if not recorded:
            cuda.calls.append("execute")
        assert self.scratch is not None, "no memory for inner values"
        assert self.scratch[1] >= SCRATCH

        def value(tensor, shape):
            dtype = np.dtype(tensor.dtype)
            size = int(np.prod(shape)) * dtype.itemsize
            return cuda.view(addresses[tensor.name], size).view(dtype).reshape(shape)

        def work():
            if recorded:
                assert self.changes == changes, "the context was changed after it was recorded"
            # Inner values: a block that is too small or freed shows.
            cuda.view(self.scratch[0], SCRATCH)[:] = 0x11
            feeds = [value(t, shapes[t.name]) for t in graph.inputs]
            for tensor, result in zip(graph.outputs, self.engine.compute(*feeds), strict=True):
                value(tensor, result.shape)[...] = result

        cuda.queue(work)
        return True


class FakeEngine:
    """A deserialised engine of one graph.

    Args:
        trt: The fake module.
        graph: Its `GraphSpec`.
        profile: Smallest and largest shape of each input.
    """

    def __init__(self, trt, graph, profile):
        self.trt, self.graph, self.profile = trt, graph, profile
        self.cuda = trt.cuda
        self.compute = trt.compute[graph.name]
        self.device_memory_size_v2 = SCRATCH
        self.names = [t.name for t in (*graph.inputs, *graph.outputs)]
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, index):
        return self.names[index]

    def get_tensor_location(self, name):
        return self.trt.locations.get(name, "device")

    def create_execution_context(self, strategy):
        assert strategy == "user managed"
        context = FakeContext(self)
        self.trt.contexts.append(context)
        return context

    def create_engine_inspector(self):
        layers = self.trt.layers

        class Inspector:
            """Needs a context whose shapes are set, as the real one does."""

            def get_engine_information(self, form):
                assert form == "json"
                assert self.execution_context.shapes
                return json.dumps(layers)

        return Inspector()


class FakeTensorrt:
    """The module `tensorrt`, for the graphs of a bundle.

    Args:
        cuda: The device.
        bundle: Whose graphs it knows.
        compute: A function for each graph: inputs to a tuple of outputs.
    """

    def __init__(self, cuda, bundle, compute):
        self.cuda, self.bundle, self.compute = cuda, bundle, compute
        self.contexts = []
        self.locations = {}
        self.fails = self.fails_when_recorded = False
        self.layers = {"Layers": []}
        self.logger = TensorrtLog(frozenset({2}))
        self.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")
        self.LayerInformationFormat = SimpleNamespace(JSON="json")
        self.TensorLocation = SimpleNamespace(HOST="host", DEVICE="device")

    def Runtime(self, logger):  # noqa: N802
        assert logger is self.logger
        return SimpleNamespace(deserialize_cuda_engine=self._deserialise)

    def _deserialise(self, plan):
        try:
            name = json.loads(plan)["graph"]
        except ValueError:
            self.logger.log(2, "Serialization assertion magicTagRead failed.\n  Magic tag mismatch")
            return None
        inputs = next(e.inputs for e in self.bundle.spec.engines if e.graph == name)
        profile = {t.name: (t.min_shape or t.shape, t.max_shape or t.shape) for t in inputs}
        return FakeEngine(self, self.bundle.spec.graphs[name], profile)

    def library(self):
        """As `load_library` gives it."""
        return TensorrtLibrary(VARIANT_TABLE["tensorrt"], VERSION, self, self.logger)
