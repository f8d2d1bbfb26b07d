"""A function of tensors, captured once and then repeated, operation by operation, on the same memory."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["CaptureError", "Replay"]

aten = torch.ops.aten
TORCH = str(Path(torch.__file__).parent)
# Python functions that write into a tensor with less overhead than the operator's own call.
DIRECT = "add sub mul div neg exp log tanh addcmul addcdiv bmm baddbmm mm addmm sum cat stack gather sigmoid"
FAST = {name: getattr(torch, name) for name in DIRECT.split()}
Call = tuple[Callable[..., object], Sequence[Any], dict[str, Any]]


class CaptureError(RuntimeError):
    """A function does something that cannot be repeated without Python; the message says what."""


class Replay:
    """``function(*inputs)`` as a list of calls of torch's operations, which write into memory of their own.

    The function runs once, and the operations that reach the device are written down, those of autograd too. A call
    repeats them on the same memory: no Python of the function, no autograd, no views and no allocation. It reads
    inputs, parameters and buffers anew, draws random numbers as the function does, and gives bit by bit what the
    function gives, in tensors that the next call overwrites. What depends on shapes alone is computed once.

    Args:
        function: Returns a sequence of tensors. It may change tensors in place. It must do the same operations
            whatever the values are, and must not keep tensors from one call to the next.
        inputs: Tensors whose values may change between calls, in place.
        answers: What a question about values, such as ``if mask.all():``, is taken to be answered by, for each source
            file that may ask one.

    Raises:
        CaptureError: If the function reads values back to the host, or shapes depend on values.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.steps.replay import Replay
        >>> x = torch.tensor([1.0, 2.0])
        >>> replay = Replay(lambda x: [(3 * x).exp().log()], [x])
        >>> x.copy_(torch.tensor([5.0, 6.0]))
        tensor([5., 6.])
        >>> replay()
        [tensor([15., 18.])]
    """

    def __init__(
        self,
        function: Callable[..., Sequence[Tensor]],
        inputs: Sequence[Tensor],
        answers: Mapping[str, bool] | None = None,
    ) -> None:
        with torch.enable_grad(), ReadsForbidden(), Trace(answers or {}) as trace:
            outputs = [trace.place(tensor) for tensor in function(*inputs)]
        drop_unused(trace, outputs)
        with torch.no_grad():
            tape = Tape(trace, outputs)
        self.calls, self.outputs = tape.calls, [tape.tensor(place) for place in outputs]

    @torch.no_grad()
    def __call__(self) -> list[Tensor]:
        """Repeats the calls and returns the outputs."""
        for function, args, kwargs in self.calls:
            function(*args, **kwargs)
        return self.outputs


class ReadsForbidden(TorchFunctionMode):
    """Raises :class:`CaptureError` where values are read by functions that are no operations of a device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (name := getattr(func, "__name__", "")) in ("tolist", "numpy", "__array__"):
            raise CaptureError(f"{asking_file()} reads values back to the host ({name})")
        return func(*args, **(kwargs or {}))


def asking_file() -> str:
    """Returns the file of the nearest caller outside torch and this module."""
    frame = sys._getframe(1)
    while frame.f_back and (frame.f_code.co_filename == __file__ or frame.f_code.co_filename.startswith(TORCH)):
        frame = frame.f_back
    return frame.f_code.co_filename


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: the number of its memory, and its geometry in it."""

    memory: int
    offset: int
    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


@dataclass
class Operation:
    """One operation of torch, with places for tensors among its arguments."""

    target: Any
    args: Any
    kwargs: Any
    outs: list[Place | None]
    """The places of its results that have memory of their own."""

    @property
    def name(self) -> str:
        """Its name without the overload."""
        return str(self.target.__name__).split(".")[0]

    @property
    def is_random(self) -> bool:
        """Whether it draws from a random generator."""
        return torch.Tag.nondeterministic_seeded in self.target.tags

    @property
    def writes(self) -> bool:
        """Whether it says that it changes one of its arguments."""
        return self.target._schema.is_mutable is True

    @property
    def depends_on_shapes(self) -> bool:
        """Whether its result depends on the shapes of its arguments alone."""
        return self.name.startswith("new_") or (self.name.endswith("_like") and not self.is_random)

    def reads(self) -> set[int]:
        """Returns the numbers of the memory of all arguments."""
        return {one.memory for one in tree_leaves((self.args, self.kwargs)) if isinstance(one, Place)}

    def written(self) -> set[int]:
        """Returns the numbers of the memory of the arguments that it says it changes."""
        slots = zip(self.target._schema.arguments, self.args, strict=False)
        changed = [given for slot, given in slots if slot.alias_info is not None and slot.alias_info.is_write]
        return {one.memory for one in tree_leaves(changed) if isinstance(one, Place)}

    def touches(self) -> set[int]:
        """Returns the numbers of the memory of arguments and results."""
        return self.reads() | {out.memory for out in self.outs if out is not None}


class Trace(TorchDispatchMode):
    """Writes down the operations that reach the device.

    Memory is known by its address. An address may be used again, but only as the result of an operation, which then
    gets a new number; memory that no operation made, such as that of parameters, is kept.
    """

    def __init__(self, answers: Mapping[str, bool]) -> None:
        super().__init__()
        self.answers = answers
        self.operations: list[Operation] = []
        self.numbers: dict[int, int] = {}
        self.sizes: dict[int, int] = {}  # in bytes, of memory that an operation made
        self.kept: dict[int, torch.UntypedStorage] = {}  # all other memory
        self.literals: set[int] = set()  # that of tensors made from Python's numbers

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise the first call imports torch's compiler, for a second or more

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is aten._local_scalar_dense.default:
            if (file := asking_file()) in self.answers and args[0].dtype is torch.bool:
                return self.answers[file]
            raise CaptureError(f"{file} reads a value back to the host")
        if func is aten.lift_fresh.default:
            self.numbers.pop(args[0].untyped_storage().data_ptr(), None)
            self.literals.add(self.place(args[0]).memory)
        places = tree_map(self.place, (args, kwargs or {}))
        refuse_changing_shapes(func, args)
        result = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        outs = [self.own(out, given) if isinstance(out, Tensor) else None for out in tree_leaves(result)]
        operation = Operation(func, places[0], places[1], outs)
        if not operation.written().isdisjoint(self.literals):
            raise CaptureError(f"a constant of the function is changed in place ({func})")
        if operation.writes or any(outs):
            self.operations.append(operation)
        return result

    def own(self, out: Tensor, given: set[int]) -> Place | None:
        """Returns the place of a result if it has memory of its own, to which it gives a number."""
        storage = out.untyped_storage()
        if storage.data_ptr() in given and storage.nbytes():
            return None
        number = len(self.sizes) + len(self.kept)
        self.numbers[storage.data_ptr()], self.sizes[number] = number, storage.nbytes()
        return self.place(out)

    def place(self, value: Any) -> Any:
        """Returns the place of a tensor, and anything else as it is."""
        if not isinstance(value, Tensor):
            return value
        if value.is_conj() or value.is_neg():
            raise CaptureError("a view of complex numbers is conjugated or negated lazily")
        storage = value.untyped_storage()
        number = self.numbers.get(storage.data_ptr())
        if number is None:
            number = len(self.sizes) + len(self.kept)
            self.numbers[storage.data_ptr()], self.kept[number] = number, storage
        offset: int = value.storage_offset()  # type: ignore[assignment]
        return Place(number, offset, value.shape, value.stride(), value.dtype, value.device)


def refuse_changing_shapes(func: Any, args: Any) -> None:
    """Raises :class:`CaptureError` if the shape of an operation's result depends on values."""
    if torch.Tag.dynamic_output_shape in func.tags or torch.Tag.data_dependent_output in func.tags:
        by_index = func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
        masks = [t for t in tree_leaves(args[1:2]) if isinstance(t, Tensor) and t.dtype in (torch.bool, torch.uint8)]
        if not by_index or masks:
            raise CaptureError(f"the shape of a result depends on values ({func})")


class Tape:
    """Calls that repeat a trace, on memory that is used again once nobody reads it."""

    def __init__(self, trace: Trace, outputs: Sequence[Place]) -> None:
        self.calls: list[Call] = []
        self.sizes, self.memory = trace.sizes, dict(trace.kept)
        self.tensors: dict[Place, Tensor] = {}
        self.free: dict[tuple[torch.device, int], list[torch.UntypedStorage]] = {}
        self.varying = varying = varying_memory(trace)
        end = {number: i for i, operation in enumerate(trace.operations) for number in operation.touches()}
        never = varying & {place.memory for place in outputs} | set(trace.kept) | (set(trace.sizes) - varying)
        dying: dict[int, list[int]] = {}
        for number in end.keys() - never:
            dying.setdefault(end[number], []).append(number)
        for i, operation in enumerate(trace.operations):
            self.record(operation)
            for number in dying.pop(i, []):
                storage = self.memory[number]
                self.free.setdefault((storage.device, storage.nbytes()), []).append(storage)

    def record(self, operation: Operation) -> None:
        """Does an operation, and adds its call if it has to be repeated."""
        outs = [None if out is None else self.tensor(out) for out in operation.outs]
        args, kwargs = tree_map(self.value, (operation.args, operation.kwargs))
        if operation.writes:
            name = operation.name
            method = getattr(Tensor, name, operation.target) if name.endswith("_") else operation.target
            call: Call = method, args, kwargs
            method(*args, **kwargs)
            repeat = not operation.reads().isdisjoint(self.varying)
        else:
            call = call_into(operation, args, kwargs, outs)
            own = {out.memory for out in operation.outs if out is not None}
            repeat = not own.isdisjoint(self.varying)
            if repeat and operation.depends_on_shapes and len(outs) == 1 and outs[0] is not None:
                call = refill(outs[0])
        if repeat:
            self.calls.append(call)

    def value(self, given: Any) -> Any:
        """Returns the tensor at a place, and anything else as it is."""
        return self.tensor(given) if isinstance(given, Place) else given

    def tensor(self, place: Place) -> Tensor:
        """Returns the tensor at a place, whose memory is made if there is none."""
        if place not in self.tensors:
            if place.memory not in self.memory:
                self.memory[place.memory] = self.storage(place)
            empty = torch.empty(0, dtype=place.dtype, device=place.device)
            self.tensors[place] = empty.set_(self.memory[place.memory], place.offset, place.shape, place.stride)
        return self.tensors[place]

    def storage(self, place: Place) -> torch.UntypedStorage:
        """Returns memory for a place; what is computed once has memory that nothing else ever had."""
        size = self.sizes[place.memory]
        free = self.free.get((place.device, size)) if place.memory in self.varying else None
        return free.pop() if free else torch.empty(size, dtype=torch.uint8, device=place.device).untyped_storage()


def drop_unused(trace: Trace, outputs: Sequence[Place]) -> None:
    """Removes the operations of whose results nothing comes, such as answers that were taken for granted."""
    needed = {place.memory for place in outputs} | set(trace.kept)
    used: list[Operation] = []
    for operation in reversed(trace.operations):
        changes = operation.touches() if operation.writes else {out.memory for out in operation.outs if out is not None}
        if operation.is_random or not changes.isdisjoint(needed):
            used.append(operation)
            needed |= operation.reads()
    trace.operations = used[::-1]


def varying_memory(trace: Trace) -> set[int]:
    """Returns the numbers of the memory whose contents may differ from call to call."""
    varying, before = set(trace.kept), -1
    while len(varying) > before:
        before = len(varying)
        for operation in trace.operations:
            if operation.is_random or (operation.reads() & varying and not operation.depends_on_shapes):
                varying |= operation.touches() if operation.writes else {o.memory for o in operation.outs if o}
    return varying


def refill(out: Tensor) -> Call:
    """Returns a call that gives a tensor again what it holds."""
    return Tensor.copy_, (out, out.clone()), {}


CHOSEN: dict[Any, int] = {}
"""For each operation, which of the calls that :func:`call_into` tries has worked."""


def call_into(op: Operation, args: Any, kwargs: Any, outs: list[Any]) -> Call:
    """Does an operation, and returns a call of it, that writes its results into ``outs``."""
    if op.target is aten.clone.default:
        calls: list[Call] = [(Tensor.copy_, (outs[0], args[0]), {})]
    elif op.target is aten.relu.default:  # which is slower than this
        calls = [(torch.clamp_min, (args[0], 0), {"out": outs[0]})]
    else:
        calls = [(FAST[op.name], args, kwargs | {"out": outs[0]})] if op.name in FAST else []
        packet = op.target.overloadpacket
        for overload in (getattr(packet, one) for one in packet.overloads()):
            names = [argument.name for argument in overload._schema.arguments if argument.is_out]
            if len(names) == len(outs) and None not in outs:
                calls.append((overload, args, kwargs | dict(zip(names, outs, strict=True))))
    calls.append((copy_results(op.target, outs), args, kwargs))
    # What failed before for the same operation is not tried first: torch writes all tensors into its message.
    first = CHOSEN.get(op.target, 0)
    for number in sorted(range(len(calls)), key=lambda number: number != first):
        function, given, named = calls[number]
        try:
            function(*given, **named)
        except (RuntimeError, TypeError, ValueError):
            continue
        CHOSEN[op.target] = number
        return function, given, named
    raise CaptureError(f"{op.target} cannot be repeated")


def copy_results(target: Callable[..., Any], outs: list[Any]) -> Callable[..., None]:
    """Returns a function that does an operation and copies its results into ``outs``."""

    def call(*args: Any, **kwargs: Any) -> None:
        for out, value in zip(outs, tree_leaves(target(*args, **kwargs)), strict=True):
            if out is not None:
                out.copy_(value)

    return call
