"""The reader of torch's pickles: what it builds, and everything that it refuses without running it."""

import io
import os
import pickle
import struct

import numpy as np
import pytest

from drlhash_jax.errors import UserError
from drlhash_jax.weights.torch_pickle import Storage, Tensor, read_pickle


def dump(*opcodes, protocol=2):
    """A pickle written by hand: protocol, opcodes, stop."""
    return b"\x80" + bytes([protocol]) + b"".join(opcodes) + b"."


def name(text):
    module, attribute = text.split(" ")
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    body = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(body)]) + body


def tuple_of(*items):
    return b"(" + b"".join(items) + b"t"


def storage(key="0", size=6, kind="torch FloatStorage", tail=()):
    return tuple_of(text("storage"), name(kind), text(key), text("cpu"), number(size), *tail) + b"Q"


def tensor(offset=0, shape=(2, 3), strides=(3, 1), block=None):
    numbers = lambda values: tuple_of(*map(number, values))
    arguments = (block or storage(), number(offset), numbers(shape), numbers(strides), b"\x89")
    hooks = name("collections OrderedDict") + b")R"
    return name("torch._utils _rebuild_tensor_v2") + tuple_of(*arguments, hooks) + b"R"


def read(content):
    return read_pickle(io.BytesIO(content))


def refused(content, *parts):
    with pytest.raises(UserError) as caught:
        read(content)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, 255, 65_535, -(2**31), 2**70, 1.5, "text", (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]
    + [[], [1], [1, 2], {}, {"a": 1}, {"a": {1: [2, (3,)]}, "b": "a"}],
)
def test_plain_values(value):
    assert read(pickle.dumps(value, protocol=2)) == value


def test_shared_values_and_long_lists():
    shared = ["x"] * 3000
    value = {"a": shared, "b": shared, "c": [str(i) for i in range(3000)]}
    out = read(pickle.dumps(value, protocol=2))
    assert out == value and out["a"] is out["b"]


def test_text_of_python_2():
    assert read(dump(b"U\x03abc")) == "abc"
    assert read(dump(b"T\x03\x00\x00\x00abc")) == "abc"


def test_a_tensor():
    out = read(dump(tensor(offset=1, shape=(2, 2), strides=(2, 1))))
    assert out == Tensor(Storage("0", np.dtype("<f4"), 6), 1, (2, 2), (2, 1))
    np.testing.assert_array_equal(out.view(np.arange(6, dtype=np.float32)), [[1, 2], [3, 4]])
    transposed = read(dump(tensor(shape=(3, 2), strides=(1, 3))))
    np.testing.assert_array_equal(transposed.view(np.arange(6)), np.arange(6).reshape(2, 3).T)
    assert not transposed.view(np.arange(6)).flags.writeable


def test_scalars_empty_tensors_and_dimensions_of_one():
    assert read(dump(tensor(offset=5, shape=(), strides=()))).view(np.arange(6)) == 5
    assert read(dump(tensor(shape=(0, 4), strides=(4, 1)))).view(np.arange(6)).shape == (0, 4)
    # torch writes any stride for a dimension of length one.
    assert read(dump(tensor(shape=(1, 6, 1), strides=(0, 1, 77)))).view(np.arange(6)).shape == (1, 6, 1)


def test_older_ways_to_write_a_tensor():
    old = name("torch._utils _rebuild_tensor")
    old += tuple_of(storage(tail=(b"N",)), number(0), tuple_of(number(6)), tuple_of(number(1))) + b"R"
    assert read(dump(old)).shape == (6,)
    parameter = name("torch._utils _rebuild_parameter") + tuple_of(tensor(), b"\x88", name("collections OrderedDict"))
    assert read(dump(parameter, b"R")).shape == (2, 3)


def test_ordered_dictionaries():
    ordered = name("collections OrderedDict")
    assert read(dump(ordered, b")R", text("a"), number(1), b"s")) == {"a": 1}
    # Python 2 gave the items as an argument; a state is torch's note on versions.
    assert read(dump(ordered, b"]](", text("a"), number(1), b"ea\x85R")) == {"a": 1}
    assert read(dump(ordered, b")R}", text("_metadata"), b"}sb")) == {}


def test_a_file_is_left_behind_the_pickle():
    file = io.BytesIO(dump(number(7)) + dump(number(8)) + b"rest")
    assert [read_pickle(file), read_pickle(file), file.read()] == [7, 8, b"rest"]


class Reduced:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.value = function, arguments

    def __reduce__(self):
        return self.value


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_ever_called(protocol, tmp_path):
    witness = tmp_path / "witness"
    for evil in (Reduced(os.system, f"touch {witness}"), Reduced(eval, f"open({str(witness)!r}, 'w')")):
        for value in (evil, {"a": evil}, [evil]):
            refused(pickle.dumps(value, protocol=protocol))
    assert not witness.exists()


@pytest.mark.parametrize(
    "text_of",
    ["os system", "posix system", "builtins eval", "builtins getattr", "__builtin__ eval", "torch load", "torch Tensor"]
    + ["torch._utils _rebuild_tensor_v2.__globals__", "torch.storage _load_from_bytes", "numpy load", "numpy f2py"]
    + ["collections OrderedDict.__init__", "collections namedtuple", "functools partial", "operator attrgetter"]
    + ["drlhash_jax.weights.torch_pickle _CALLS", "torch._utils _rebuild_wrapper_subclass", "torch.jit load"],
)
def test_unknown_names_are_refused_when_they_are_named(text_of):
    refused(dump(name(text_of)), text_of.replace(" ", "."), "no file of weights needs")


def test_long_names_are_cut_in_the_message():
    with pytest.raises(UserError) as caught:
        read(dump(name("m " + "x" * 10**6)))
    assert len(str(caught.value)) < 200


def test_attributes_of_stand_ins_cannot_be_set():
    state = b"}" + text("__call__") + number(1) + b"s"
    refused(dump(name("collections OrderedDict"), state, b"b"), "state")
    refused(dump(tensor(), state, b"b"), "state")
    refused(dump(name("collections OrderedDict"), b")R", b"N", state, b"\x86", b"bb"))


def test_storages_are_not_called():
    refused(dump(name("torch FloatStorage"), b")R"), "call")
    refused(dump(name("collections OrderedDict"), b")R)R"), "call")
    refused(dump(tensor(), b")R"), "call")


@pytest.mark.parametrize("arguments", [b"N", b"]", b"(t", number(1) + b"\x85", b"NNN\x87", b"(NNNNNNNt"])
def test_arguments_are_checked(arguments):
    for function in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"):
        refused(dump(name(f"torch._utils {function}"), arguments, b"R"))


@pytest.mark.parametrize("argument", [b"N", number(1), b")", b"}", b"]Na", b"]" + text("ab") + b"a", b"])a", b"]]a"])
def test_items_of_a_dictionary_are_checked(argument):
    refused(dump(name("collections OrderedDict"), argument, b"\x85R"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": -1},
        {"offset": 1},
        {"offset": 2**62},
        {"shape": (-2, 3)},
        {"shape": (-2, -3)},
        {"shape": (3, 3)},
        {"shape": (2**62, 0)},
        {"shape": (2**40, 2**40), "strides": (2**40, 1)},
        {"shape": (2**47, 2**47), "strides": (0, 0)},
        {"shape": (7,), "strides": (1,)},
        {"shape": (2,), "strides": (6,)},
        {"shape": (6,), "strides": (-1,)},
        {"shape": (2, 3), "strides": (1, 1)},
        {"shape": (2, 3), "strides": (0, 1)},
        {"shape": (2**40,), "strides": (0,)},
        {"shape": (3, 3), "strides": (2, 1)},
        {"shape": (2, 3), "strides": (3,)},
        {"shape": (2,), "strides": (3, 1)},
        {"shape": (1,) * 9, "strides": (1,) * 9},
        {"shape": (), "strides": (), "offset": 6},
        {"shape": (1,), "strides": (1,), "block": storage(size=0)},
        {"block": storage(size=-6)},
        {"block": storage(size=2**62)},
        {"block": storage(size=5)},
        {"block": storage(kind="torch._utils _rebuild_tensor")},
        {"block": storage(tail=(tuple_of(text("1"), number(0), number(6)),))},
        {"block": storage(tail=(b"N", b"N"))},
        {"block": b"N"},
        {"block": text("0")},
        {"block": tuple_of(text("module"), name("torch FloatStorage"), text("0"), text("cpu"), number(6)) + b"Q"},
        {"block": tuple_of(text("storage"), text("FloatStorage"), text("0"), text("cpu"), number(6)) + b"Q"},
        {"block": tuple_of(text("storage"), name("torch FloatStorage"), number(0), text("cpu"), number(6)) + b"Q"},
        {"block": tuple_of(text("storage"), name("torch FloatStorage"), text("0"), text("cpu"), b"\x88") + b"Q"},
    ],
    ids=str,
)
def test_tensors_stay_within_their_storage(wrong):
    refused(dump(tensor(**wrong)))


@pytest.mark.parametrize("value", [(True, 3), (2.0, 3), (None, 3), ("2", 3)])
def test_sizes_are_integers(value):
    as_pickle = lambda value: pickle.dumps(value, protocol=2)[2:-1]
    arguments = (storage(), number(0), as_pickle(value), as_pickle((3, 1)), b"\x89", b"}")
    refused(dump(name("torch._utils _rebuild_tensor_v2"), tuple_of(*arguments), b"R"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"\x80",
        b"\x80\x02",
        b"\x80\x02.",
        b"hello, this is text",
        dump(),
        dump(b"N"),
        dump(b"NN"),
        dump(b"("),
        dump(b"(N"),
        dump(b"R"),
        dump(b"(R"),
        dump(b"NR"),
        dump(b"t"),
        dump(b"Nt"),
        dump(b"\x85"),
        dump(b"(N\x86"),
        dump(b"a"),
        dump(b"Na"),
        dump(b"NNa"),
        dump(b"e"),
        dump(b"N(Ne"),
        dump(b"s"),
        dump(b"}N(s"),
        dump(b"NNNs"),
        dump(b"}(Nu"),
        dump(b"}](Nu"),
        dump(b"}]Ns"),
        dump(b"}(tNs"),
        dump(b"b"),
        dump(b"NNb"),
        dump(b"Q"),
        dump(b"NQ"),
        dump(b"h\x00"),
        dump(b"j\xff\xff\xff\xff"),
        dump(b"q\x00"),
        dump(b"X\xff\xff\xff\x7fabc"),
        dump(b"X\x01\x00\x00\x00\xff"),
        dump(b"T\xff\xff\xff\xffabc"),
        dump(b"\x8b\xff\xff\xff\x7f\x01"),
        dump(b"I99\n"),
        dump(b"I" + b"9" * 10_000 + b"\n"),
        dump(b"ios\nsystem\n"),
        dump(b"(cos\nsystem\no"),
        dump(b"\x82\x01"),
        dump(b"N", protocol=5),
        dump(b"\xff"),
    ],
    ids=repr,
)
def test_damaged_pickles(content):
    if content in (dump(b"N"),):
        assert read(content) is None
    else:
        refused(content)


def test_every_cut_is_refused():
    content = dump(b"}", text("a"), tensor(), b"s")
    assert read(content)["a"].shape == (2, 3)
    for length in range(len(content)):
        refused(content[:length])


def test_every_changed_byte_is_read_or_refused():
    content = dump(b"}", text("a"), tensor(), b"s")
    rng = np.random.default_rng(0)
    for position in range(len(content)):
        for value in rng.integers(0, 256, 8).tolist():
            try:
                read(content[:position] + bytes([value]) + content[position + 1 :])
            except UserError:
                continue


def test_a_large_memo_index_reserves_nothing():
    # Python's own unpickler reserves 64 GiB for this.
    assert read(dump(b"N", b"r\xff\xff\xff\xff")) is None


def test_the_number_of_steps_is_bounded():
    refused(dump(b"N0" * 300_000))
    refused(dump(b"N" * 600_000), "opcodes")
    refused(dump(b"N", b"q\x00" * 600_000), "opcodes")


def test_steps_do_not_grow_with_what_was_built():
    # A long list given to a dictionary again and again is used up the first time.
    pairs = b"](" + (b"]" + b"(" + text("a") + b"Ne") * 20_000 + b"e" + b"q\x00"
    calls = (name("collections OrderedDict") + b"h\x00\x85R" + b"\x85") * 20_000
    refused(dump(pairs, calls))


def test_deep_nesting_is_harmless():
    out = read(dump(b")" + b"\x85" * 200_000))
    assert type(out) is tuple
