"""A TensorRT engine as a backend.

Everything is queued on the one stream of a `DeviceMemory`: copies in, execution, copies out.  `run`
returns before the device is done, and maybe before it has begun (`DeviceMemory.send`); only
`CudaArray.to_host` waits.  What may be written again
when, follows from the order of the stream: an output's memory serves another array only once the
output is garbage, and then for work that is queued later.

A run whose shapes and addresses have been met before is recorded as a CUDA graph and launched as
one from then on.  It is one graph of the bundle that is recorded, not a whole frame: between the
graphs of a frame the host decides (which tracklets are matched, how many there are), so a frame has
no fixed shape to record.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import BackendError
from ...bundle.spec import EngineSpec, GraphSpec, TensorSpec
from ..base import OBJECT_AXES, OBJECT_COUNTS, Array, Engine
from .cuda import GpuFaultError
from .cuda_graphs import Launches
from .kernel_cache import KernelCache
from .library import TensorrtLibrary
from .memory import CudaArray, DeviceMemory
from .precision import Layer, check_layers, read_layers

if TYPE_CHECKING:
    import tensorrt


Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]

READY = 8
"""Contexts that are made at the start, for the recordings of the first frames."""

_APART = 32
"""Runs between two contexts that are made later: each takes as long as several frames."""

_KNOWN_SHAPES = 256
"""Combinations of input shapes whose output shapes are remembered."""


class TensorrtEngine(Engine):
    """A graph as a TensorRT engine.

    Args:
        library: The variant that built it.
        memory: Where inputs and outputs live; shared by all engines of a backend, closed by none.
        plan: The engine's bytes, already compared with their sha256.
        graph: What the graph takes and gives.
        engine: How it was built; already compared with this machine.
        precision: Of the bundle: `fp32`, `fp16` or `int8`.
        rebuild_command: The command that builds it again, for messages.

    Attributes:
        layers: Its layers as the engine inspector lists them.
        products: How many convolutions and matrix products compute in which type.
        precision_warnings: What the engine does not say of its precision, layer by layer.

    Raises:
        BackendError: TensorRT refuses the engine, its tensors are not the graph's, or it computes
            in another precision than the bundle promises.
    """

    def __init__(
        self,
        library: TensorrtLibrary,
        memory: DeviceMemory,
        plan: bytes,
        graph: GraphSpec,
        engine: EngineSpec,
        *,
        precision: str,
        rebuild_command: str,
    ) -> None:
        self.spec = graph
        self.backend = f"{library.variant} {library.version} {engine.target}"
        self._library = library
        self._memory = memory
        self._profile = engine.inputs
        self._rebuild_command = rebuild_command
        # The runtime must outlive the engine, and the engine its contexts.
        self._runtime: tensorrt.Runtime | None = library.trt.Runtime(library.logger)
        self._engine: tensorrt.ICudaEngine | None = self._deserialise(plan)
        self._scratch_size = int(self._engine.device_memory_size_v2)
        self._scratch = (0, 0)
        self._context: tensorrt.IExecutionContext | None = None
        self._ready: list[tensorrt.IExecutionContext] = []
        self._runs = self._last_made = 0
        self._warm = False
        self._shapes: Shapes = ()
        self._output_shapes: OrderedDict[Shapes, Shapes] = OrderedDict()
        self._launches = Launches(memory.cuda)
        self._kernels = (
            KernelCache(engine.sha256, _dynamic(graph)) if library.row.records_itself else None
        )
        self._strategies: dict[str, str] = {}
        self._check_tensors()
        self.layers: tuple[Layer, ...] = self._read_layers()
        proof = check_layers(graph, self.layers, precision, engine.products)
        self.products, self.precision_warnings = proof.products, proof.warnings

    def warm_up(self) -> None:
        """Run at the shapes of the run, and make the contexts that recordings will take.

        The first run lays out memory, and in TensorRT-RTX compiles kernels; a context takes as long
        as several frames. Both belong to the start and not to the first hundred frames. Once only:
        a source that starts later must not hold up the others.
        """
        if self._warm:
            return
        self._warm = True
        for shapes in self._usual_shapes():
            self.run(
                {
                    tensor.name: self._something(shape, np.dtype(tensor.dtype))
                    for tensor, shape in zip(self.spec.inputs, shapes, strict=True)
                }
            )
        self._memory.cuda.synchronize()
        while not self._library.row.records_itself and len(self._ready) < READY:
            self._ready.append(self._new_context())

    def _something(self, shape: Shape, dtype: np.dtype[Any]) -> CudaArray:
        """An input: zeros where they may be numbers of rows, else whatever is there.

        To send all, a hundred MB of pinned memory would be taken from the system for good.
        """
        if dtype.kind in "iu" and dtype.itemsize > 1:
            return self._memory.upload(np.zeros(shape, dtype))
        return self._memory.empty(shape, dtype)

    def _usual_shapes(self) -> list[Shapes]:
        """The expected shapes, and those with all numbers of objects that stacks are filled up to.

        In TensorRT-RTX, which compiles kernels for each of them, the expected ones alone.
        """
        expected = tuple(tensor.opt_shape or _fixed(tensor) for tensor in self._profile)
        ranges = {
            axis: (low, high)
            for graph, tensor in zip(self.spec.inputs, self._profile, strict=True)
            if tensor.min_shape and tensor.max_shape
            for axis, low, high in zip(graph.shape, tensor.min_shape, tensor.max_shape, strict=True)
            if axis in OBJECT_AXES
        }
        if not ranges or self._kernels is not None:
            return [expected]
        counts = [
            [count for count in OBJECT_COUNTS if low <= count <= high]
            for low, high in ranges.values()
        ]
        found = [expected]
        for combination in product(*counts):
            chosen = dict(zip(ranges, combination, strict=True))
            found.append(
                tuple(
                    tuple(
                        chosen.get(str(axis), size)
                        for axis, size in zip(graph.shape, shape, strict=True)
                    )
                    for graph, shape in zip(self.spec.inputs, expected, strict=True)
                )
            )
        return found

    def limit(self, input_index: int, axis: int) -> int | None:
        """The largest size that an axis of an input may have; None where the input is fixed."""
        most = self._profile[input_index].max_shape
        return None if most is None else most[axis]

    def least(self, input_index: int, axis: int) -> int:
        """The smallest size that an axis of an input may have; 1 where the input is fixed."""
        least = self._profile[input_index].min_shape
        return 1 if least is None else least[axis]

    @property
    def recorded(self) -> int:
        """How many launches are recorded as CUDA graphs."""
        return len(self._launches)

    @property
    def recording_problem(self) -> str | None:
        """Why nothing is recorded any more; None where all is well."""
        return self._launches.problem

    def report(self) -> dict[str, Any]:
        """Types of its products, how many launches are recorded, and why no more where so."""
        recording = {
            "recorded_launches": self.recorded,
            "recording_problem": self.recording_problem,
        }
        report: dict[str, Any] = {"products": self.products, **recording, **self._strategies}
        if self.precision_warnings:
            report["precision_warnings"] = list(self.precision_warnings)
        if self._kernels is not None and self._kernels.problem is not None:
            report["kernel_cache"] = self._kernels.problem
        return report

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine`."""
        if self._engine is None:
            raise BackendError(f"graph {self.spec.name} was closed and cannot run again")
        self._check_profile(feeds)
        # Copies of host arrays are garbage when all is queued; the stream's order keeps them whole.
        fed = [feeds[tensor.name] for tensor in self.spec.inputs]
        inputs = self._memory.send(self.spec.name, fed)
        shapes = tuple(tuple(array.shape) for array in inputs)
        outputs = [
            self._memory.empty(shape, np.dtype(tensor.dtype))
            for tensor, shape in zip(
                self.spec.outputs, self._shapes_of_outputs(shapes), strict=True
            )
        ]
        arrays = [*inputs, *outputs]
        self._memory.when_sent(lambda: self._launch(shapes, arrays))
        return {t.name: array for t, array in zip(self.spec.outputs, outputs, strict=True)}

    def _launch(self, shapes: Shapes, arrays: list[CudaArray]) -> None:
        self._runs += 1
        self._memory.cuda.note(self.spec.name)
        self._use_scratch()
        addresses = tuple(array.address for array in arrays)
        key = (shapes, addresses)
        if self._launches.launch(key):
            return
        records = not self._library.row.records_itself and self._launches.worth_recording(key)
        context = self._context_to_record() if records else None
        if context is None:
            self._enqueue(self._context_for(shapes), addresses)
            return
        # TensorRT calls it undefined to launch what was recorded from a context that was changed
        # since: each recording has a context of its own.  Its first run is an ordinary one, in
        # which TensorRT lays out what depends on the shapes.
        self._set_shapes(context, shapes)
        self._enqueue(context, addresses)
        self._launches.record(key, context, lambda: self._execute(context))

    def _context_to_record(self) -> tensorrt.IExecutionContext | None:
        """A context of its own for a recording; None where making one can wait."""
        if self._ready:
            context = self._ready.pop()
            # The memory of inner values may have moved since it was made.
            context.set_device_memory(*self._scratch)
            return context
        if self._last_made and self._runs - self._last_made < _APART:
            return None
        self._last_made = self._runs
        return self._new_context()

    def _enqueue(self, context: tensorrt.IExecutionContext, addresses: tuple[int, ...]) -> None:
        tensors = (*self.spec.inputs, *self.spec.outputs)
        for tensor, address in zip(tensors, addresses, strict=True):
            if not context.set_tensor_address(tensor.name, address):
                raise self._failure(f"tensor {tensor.name} was not accepted")
        self._execute(context)

    def _execute(self, context: tensorrt.IExecutionContext) -> None:
        if not context.execute_async_v3(self._memory.cuda.stream):
            raise self._failure("it could not be run")

    def _shapes_of_outputs(self, shapes: Shapes) -> Shapes:
        known = self._output_shapes.get(shapes)
        if known is None:
            context = self._context_for(shapes)
            known = tuple(_sizes(context.get_tensor_shape(t.name)) for t in self.spec.outputs)
            if any(size < 0 for shape in known for size in shape):
                raise self._failure(f"the shapes {known} of its outputs depend on values")
            self._output_shapes[shapes] = known
            if len(self._output_shapes) > _KNOWN_SHAPES:
                self._output_shapes.popitem(last=False)
        return known

    def _context_for(self, shapes: Shapes) -> tensorrt.IExecutionContext:
        """The context of all runs that are not recorded, set to these input shapes."""
        context = self._context or self._new_context()
        self._context = context
        if shapes != self._shapes:
            self._set_shapes(context, shapes)
            self._shapes = shapes
        return context

    def _set_shapes(self, context: tensorrt.IExecutionContext, shapes: Shapes) -> None:
        # Until all are set, the context has none that can be relied on.
        self._shapes = () if context is self._context else self._shapes
        for tensor, shape in zip(self.spec.inputs, shapes, strict=True):
            if not context.set_input_shape(tensor.name, shape):
                raise self._failure(f"input {tensor.name} of shape {shape} was not accepted")

    def _new_context(self) -> tensorrt.IExecutionContext:
        self._use_scratch()
        context: tensorrt.IExecutionContext | None = self._library.create_context(
            self._engine, self._kernels
        )
        if context is None:
            raise self._failure("there is not enough GPU memory to run it")
        self._strategies = self._library.strategies_of(context)
        context.set_device_memory(*self._scratch)
        return context

    def _use_scratch(self) -> None:
        """Follow the memory of inner values where it moved, which happens as engines are loaded."""
        scratch = (self._memory.scratch(self._scratch_size), self._scratch_size)
        if scratch != self._scratch:
            self._forget_contexts()
            self._scratch = scratch

    def _forget_contexts(self) -> None:
        if self._context is not None or len(self._launches):
            # A context may hold memory of its own that queued work still uses; after a fault,
            # nothing does.
            with suppress(GpuFaultError):
                self._memory.cuda.synchronize()
        self._launches.clear()
        self._context, self._shapes = None, ()

    def close(self) -> None:
        """Release contexts and engine; may be called twice.  Outputs stay readable."""
        if self._engine is not None:
            try:
                # Outputs that wait for their inputs stay readable; what fails was not asked for.
                with suppress(BackendError):
                    self._memory.flush()
                self._forget_contexts()
                self._ready.clear()
                if self._kernels is not None:
                    self._kernels.save()
            finally:
                self._engine, self._runtime = None, None

    def _deserialise(self, plan: bytes) -> tensorrt.ICudaEngine:
        self._library.logger.take_errors()
        engine: tensorrt.ICudaEngine | None = None
        if self._runtime is not None:
            engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise self._failure("TensorRT refuses the engine")
        return engine

    def _check_tensors(self) -> None:
        engine, trt = self._opened, self._library.trt
        got = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        expected = [tensor.name for tensor in (*self.spec.inputs, *self.spec.outputs)]
        if sorted(got) != sorted(expected):
            raise self._failure(f"it has tensors {got}, expected {expected}")
        for name in got:
            if engine.get_tensor_location(name) == trt.TensorLocation.HOST:
                raise self._failure(f"tensor {name} is wanted on the host, expected on the GPU")

    def _read_layers(self) -> tuple[Layer, ...]:
        # Formats are reported for known shapes only.
        shapes = tuple(tensor.opt_shape or _fixed(tensor) for tensor in self._profile)
        inspector = self._opened.create_engine_inspector()
        inspector.execution_context = self._context_for(shapes)
        text = inspector.get_engine_information(self._library.trt.LayerInformationFormat.JSON)
        return read_layers(text)

    @property
    def _opened(self) -> tensorrt.ICudaEngine:
        if self._engine is None:
            raise BackendError(f"graph {self.spec.name} was closed and cannot run again")
        return self._engine

    def _check_profile(self, feeds: Mapping[str, Array]) -> None:
        for tensor in self._profile:
            low, high = tensor.min_shape, tensor.max_shape
            if low is None or high is None:
                continue
            shape = feeds[tensor.name].shape
            if not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
                raise BackendError(
                    f"graph {self.spec.name}, input {tensor.name}: got shape {tuple(shape)}, the "
                    f"engine takes {low} to {high}: for another image size run "
                    f"`{self._rebuild_command} --size HxW`; for more objects than that use "
                    "--backend cpu or cuda"
                )

    def _failure(self, what: str) -> BackendError:
        if self._memory.cuda.fault is not None:
            return self._memory.cuda.fault
        reason = self._library.logger.take_errors()
        quoted = f" ({reason[:300]})" if reason else ""
        return BackendError(
            f"graph {self.spec.name} on {self.backend}: {what}{quoted}: "
            f"run `{self._rebuild_command} --force`, or use --backend cpu"
        )


def _sizes(dims: tensorrt.Dims) -> Shape:
    # Not every version can be iterated over.
    return tuple(int(dims[i]) for i in range(len(dims)))


def _fixed(tensor: TensorSpec) -> Shape:
    return tuple(size for size in tensor.shape if isinstance(size, int))


def _dynamic(graph: GraphSpec) -> frozenset[str]:
    return frozenset(size for t in graph.inputs for size in t.shape if isinstance(size, str))
