"""The pickle inside a torch file, read by a machine that can build containers and tensors and nothing else.

Python's own unpickler calls what the file names, and its memo can be made to fill the memory. This machine steps
through the opcodes that torch.save writes for a dictionary of tensors. A name that is not in `_CALLS` or `STORAGES`,
or an opcode that is not listed, ends it; every step takes a bounded time, and the number of steps is bounded.
"""

import pickletools
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

from drlhash_jax.errors import UserError

# EfficientNet-Lite0, the longest pickle of the published files that we read, has 12,000 opcodes.
_MAX_OPCODES = 500_000
_MAX_DIMENSIONS = 8
_MARK = object()

STORAGES = {
    "torch FloatStorage": np.dtype("<f4"),
    "torch DoubleStorage": np.dtype("<f8"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch BFloat16Storage": np.dtype(jnp.bfloat16),
    "torch LongStorage": np.dtype("<i8"),
    "torch IntStorage": np.dtype("<i4"),
    "torch ShortStorage": np.dtype("<i2"),
    "torch CharStorage": np.dtype("i1"),
    "torch ByteStorage": np.dtype("u1"),
    "torch BoolStorage": np.dtype("?"),
}


class Name(NamedTuple):
    """A global name of the file, "module attribute": a key of `_CALLS` or `STORAGES`."""

    text: str


class Storage(NamedTuple):
    """A block of elements that tensors are views of.

    Attributes:
      key: its name in the file.
      dtype: of an element.
      size: number of elements.
    """

    key: str
    dtype: np.dtype
    size: int


class Tensor(NamedTuple):
    """A view of a storage that lies within it and reaches no element twice; numbers count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, elements: np.ndarray) -> np.ndarray:
        """The tensor as a read-only view of its storage's elements ``[storage.size]``."""
        strides = tuple(stride * elements.itemsize for stride in self.strides)
        return np.lib.stride_tricks.as_strided(elements[self.offset :], self.shape, strides, writeable=False)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise UserError(problem)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _tensor(storage: object, offset: object, shape: object, strides: object, *unused: object) -> Tensor:
    """torch._utils._rebuild_tensor and _rebuild_tensor_v2."""
    _require(type(storage) is Storage, "a tensor without a storage")
    _require(type(shape) is tuple and type(strides) is tuple, "a tensor without a shape")
    _require(len(shape) == len(strides) <= _MAX_DIMENSIONS, "a tensor of an unknown number of dimensions")
    _require(all(map(_is_count, (offset, *shape, *strides))), "a tensor with a negative or huge size")
    if 0 in shape:
        return Tensor(storage, 0, shape, (0,) * len(shape))
    reach = 0
    for stride, size in sorted(zip(strides, shape, strict=True)):
        _require(size == 1 or stride > reach, "a tensor that holds an element twice")
        reach += stride * (size - 1)
    _require(offset + reach < storage.size, "a tensor that reaches beyond its storage")
    return Tensor(storage, offset, shape, strides)


def _parameter(tensor: object, *unused: object) -> Tensor:
    """torch._utils._rebuild_parameter: the tensor in it."""
    _require(type(tensor) is Tensor, "a parameter without a tensor")
    return tensor


def _ordered_dict(*lists: object) -> dict:
    """collections.OrderedDict; Python 2 gave it a list of [key, value], which is used up here."""
    found: dict = {}
    for pairs in lists:
        _require(type(pairs) is list, "a dictionary of an unknown form")
        while pairs:
            pair = pairs.pop()
            _require(type(pair) in (list, tuple) and len(pair) == 2, "a dictionary of an unknown form")
            _insert(found, list(pair))
    return found


def _insert(target: object, flat: list) -> None:
    """Puts [key, value, key, value, ...] into a dictionary."""
    _require(type(target) is dict and len(flat) % 2 == 0, "items without a dictionary")
    for key, value in zip(flat[::2], flat[1::2], strict=True):
        _require(type(key) in (str, int), "a key that is neither text nor a number")
        target[key] = value


# Callable names -> what stands in for them, and the numbers of arguments that it takes.
_CALLS: dict[str, tuple[Callable, tuple[int, ...]]] = {
    "collections OrderedDict": (_ordered_dict, (0, 1)),
    "torch._utils _rebuild_parameter": (_parameter, (3,)),
    "torch._utils _rebuild_tensor": (_tensor, (4,)),
    "torch._utils _rebuild_tensor_v2": (_tensor, (6, 7)),
}


def _name(text: str) -> Name:
    if text not in _CALLS and text not in STORAGES:
        raise UserError(f"it asks for {text[:80].replace(' ', '.')}, which no file of weights needs")
    return Name(text)


def _storage(value: object) -> Storage:
    """A persistent id: ("storage", type, key, device, number of elements), in the legacy layout also a part."""
    _require(type(value) is tuple and len(value) in (5, 6) and value[0] == "storage", "an unknown persistent id")
    kind, key, size = value[1], value[2], value[4]
    _require(type(kind) is Name and kind.text in STORAGES and type(key) is str, "a storage of an unknown type")
    _require(_is_count(size), "a storage with a negative or huge size")
    _require(len(value) == 5 or value[5] is None, "a storage that is part of another")
    return Storage(key, STORAGES[kind.text], size)


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self):
        self.stack: list = []
        self.memo: dict[int, object] = {}

    def pop(self) -> object:
        _require(bool(self.stack) and self.stack[-1] is not _MARK, "an opcode finds too little on the stack")
        return self.stack.pop()

    def pop_all(self, count: int) -> list:
        return [self.pop() for _ in range(count)][::-1]

    def pop_marked(self) -> list:
        items = []
        while self.stack and self.stack[-1] is not _MARK:
            items.append(self.stack.pop())
        _require(bool(self.stack), "a mark is missing")
        self.stack.pop()
        return items[::-1]

    def top(self) -> object:
        _require(bool(self.stack), "an opcode finds too little on the stack")
        return self.stack[-1]

    def append(self, items: list) -> None:
        _require(type(self.top()) is list, "items without a list")
        self.top().extend(items)

    def call(self) -> object:
        function, arguments = self.pop_all(2)
        _require(type(function) is Name and function.text in _CALLS, "a call of something that is not a function")
        stand_in, counts = _CALLS[function.text]
        _require(type(arguments) is tuple and len(arguments) in counts, f"{function.text} with unknown arguments")
        return stand_in(*arguments)

    def recall(self, index: int) -> object:
        _require(index in self.memo, "the memo is asked for what it does not hold")
        return self.memo[index]

    def forget_state(self) -> None:
        """The state of a dictionary is torch's note on versions, not needed."""
        self.pop()
        _require(type(self.top()) is dict, "a state of something that is not a dictionary")

    def step(self, opcode: str, argument: object) -> None:
        match opcode:
            case "PROTO":
                _require(argument == 2, f"pickle protocol {argument}, expected 2")
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                self.stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                self.stack.append(argument)
            case "BINUNICODE" | "BINSTRING" | "SHORT_BINSTRING":
                self.stack.append(argument)
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                self.stack.append({"EMPTY_DICT": {}, "EMPTY_LIST": [], "EMPTY_TUPLE": ()}[opcode])
            case "MARK":
                self.stack.append(_MARK)
            case "TUPLE":
                self.stack.append(tuple(self.pop_marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack.append(tuple(self.pop_all(int(opcode[-1]))))
            case "APPEND" | "APPENDS":
                self.append(self.pop_all(1) if opcode == "APPEND" else self.pop_marked())
            case "SETITEM" | "SETITEMS":
                items = self.pop_all(2) if opcode == "SETITEM" else self.pop_marked()
                _insert(self.top(), items)
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.top()
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self.recall(argument))
            case "GLOBAL":
                self.stack.append(_name(argument))
            case "BINPERSID":
                self.stack.append(_storage(self.pop()))
            case "REDUCE":
                self.stack.append(self.call())
            case "BUILD":
                self.forget_state()
            case _:
                raise UserError(f"it holds the opcode {opcode}, which no file of weights needs")


def read_pickle(file: BinaryIO) -> object:
    """One object of a torch file.

    Args:
      file: at the start of a pickle; afterwards behind its end.

    Returns:
      Numbers, text, None, tuples, lists and dictionaries of them, `Tensor` and `Storage`.

    Raises:
      UserError: damaged, or holds anything else. Nothing that the file names was called.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            _require(count < _MAX_OPCODES, f"its pickle has more than {_MAX_OPCODES} opcodes")
            if opcode.name != "STOP":
                machine.step(opcode.name, argument)
    except UserError:
        raise
    except (ValueError, OverflowError) as error:
        raise UserError(f"its pickle is damaged: {str(error)[:200]}") from error
    value = machine.pop()
    _require(not machine.stack, "its pickle ends in the middle")
    return value
