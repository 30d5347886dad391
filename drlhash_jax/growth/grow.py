"""A finished database grows: old rows keep their codes, bit for bit unless asked, and one network finds all rows."""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np

from drlhash_jax import bundles, retrieval
from drlhash_jax.config import RunConfig, load, merged
from drlhash_jax.encoders import make_encoder, prepare_inputs
from drlhash_jax.errors import UserError
from drlhash_jax.files import write_error
from drlhash_jax.growth.codes import Codes, learn_codes, move_codes
from drlhash_jax.growth.known import (
    HELD_OUT,
    MOST_LEARNT,
    MOST_QUERIES,
    MOST_SEARCHED,
    Known,
    draw,
    find_known,
    write_known,
)
from drlhash_jax.growth.labels import Labels, join_labels
from drlhash_jax.growth.network import Sample, Start, train_network
from drlhash_jax.growth.rows import read_rows, row_ids
from drlhash_jax.runs import ModelRecord, read_model, real_codes, selected_bits, write_model
from drlhash_jax.serving import load as load_served
from drlhash_jax.serving.models import ServedModel, open_model_of

BUNDLE, MODEL = "codes.drlh", "model"
# Steps at least where a trained trunk stays, and where there is none; and epochs, however many rows there are.
_HEAD_STEPS, _WHOLE_STEPS, _LEAST_EPOCHS = 150, 500, 2
_BATCH_SIZE, _RATE = 128, 1e-3


class Request(NamedTuple):
    """What is to grow, and by what.

    Attributes:
      model: a saved model, or the run that has it.
      bundle: of its codes.
      inputs: new rows: a folder of images, or the address of an array.
      labels: address of the array's labels; "" for a folder.
      out: directory to be made.
      ids: file of the new rows' ids; None for numbers or the names of files.
      old: rows that the model was fitted on, as `inputs`; None for what is recorded beside the model.
      old_labels: their labels.
      bits: length of all codes afterwards; None for the length that they have.
      max_changed_bits: of each old code.
    """

    model: str
    bundle: str
    inputs: str
    labels: str
    out: str
    ids: str | None = None
    old: str | None = None
    old_labels: str | None = None
    bits: int | None = None
    max_changed_bits: int = 0


class Score(NamedTuple):
    """How well held-out rows are found.

    Attributes:
      queries: number of them that have a relevant row.
      before: mAP where the old network codes queries and new rows.
      after: mAP of the new network, and the codes that were learnt.
    """

    queries: int
    before: float
    after: float


class Grown(NamedTuple):
    """What came of it.

    Attributes:
      out: its directory.
      old_rows: rows of the bundle that grew.
      new_rows: rows that were added.
      old_classes: classes of the old rows.
      new_classes: names of classes that no old row has.
      bits: of the old codes, and of all codes now.
      changed: bits of an old code that changed: the most, and the mean.
      digest: SHA-256 of the old rows' packed codes, in the old bundle and, where no bit changed, in the new one.
      learnt_from: old rows and new ones that the network learnt from.
      seconds: of learning codes and network, compilation included.
      scores: "all", "old classes", "new classes" -> Score, as far as there are held-out rows.
      skipped: files that were left out.
    """

    out: Path
    old_rows: int
    new_rows: int
    old_classes: int
    new_classes: tuple[str, ...]
    bits: tuple[int, int]
    changed: tuple[int, float]
    digest: str
    learnt_from: tuple[int, int]
    seconds: float
    scores: dict[str, Score]
    skipped: tuple


class Learnt(NamedTuple):
    """What growing computes.

    Attributes:
      codes: of the old rows that are known, and of all new ones.
      record: of the new model.
      seconds: that it took.
    """

    codes: Codes
    record: ModelRecord
    seconds: float


def _encoder_of(config: RunConfig, num_bits: int) -> nn.Module:
    return make_encoder(config.encoder.name, num_bits, **config.encoder.attributes)


def find_start(record: ModelRecord, encoder: nn.Module, bits: np.ndarray) -> Start:
    """The layers of an old model that a network of its encoder can begin with.

    Methods keep the encoder's parameters themselves, or under "encoder" with a head of classes.

    Args:
      record: the old model.
      encoder: with K outputs.
      bits: int ``[k]``, the outputs of the old network that are in use, at most K.

    Raises:
      UserError: the configured encoder does not read the model's inputs.
    """
    sample = np.zeros((1, *record.input_shape), np.uint8 if record.input_spec.kind == "images" else np.float32)
    try:
        drawn = jax.eval_shape(
            lambda key, x: encoder.init(key, prepare_inputs(x, record.input_spec))["params"], jax.random.key(0), sample
        )
    except (TypeError, ValueError, AssertionError) as error:
        raise UserError(f"the encoder of this model's configuration does not read its inputs: {error}") from error
    more = encoder.num_outputs - len(bits)
    widened = lambda values: np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, more)])
    under = record.params.get("encoder")
    stored = dict(under or record.params)
    if "head" in stored:
        # A head of classes has no bits. Bits that come with growing begin as zeros.
        stored["head"] = {} if under else {name: widened(value[..., bits]) for name, value in stored["head"].items()}
    shapes = lambda layer: jax.tree.map(lambda leaf: tuple(leaf.shape), layer)
    layers = {name: stored[name] for name in drawn if name in stored and shapes(stored[name]) == shapes(drawn[name])}
    has_trunk = set(layers) >= set(drawn) - {"head"} and set(drawn) > {"head"}
    return Start(layers, True) if has_trunk else Start({}, False)


def _grown_config(record: ModelRecord, num_bits: int, has_trunk: bool, num_rows: int) -> dict:
    """The old model's configuration with what growing by a sample of rows does in place of its method and training."""
    num_batches, num_steps = -(-num_rows // _BATCH_SIZE), _HEAD_STEPS if has_trunk else _WHOLE_STEPS
    training = {
        "num_epochs": max(_LEAST_EPOCHS, -(-num_steps // num_batches)),
        "batch_size": _BATCH_SIZE,
        "optimizer": "adam",
        "learning_rate": 0.0 if has_trunk else _RATE,
        "head_learning_rate": _RATE,
        "weight_decay": 0.0,
        "schedule": "cosine",
    }
    if has_trunk:
        # Features are no images, and have no views.
        training["max_shift"] = -1
    changes = {"method": "dihn", "pool_bits": num_bits, "bits": [num_bits], "train_direct": False}
    return merged(record.config, changes | {"last_stage": "encoder", "training": training})


def learn(
    served: ServedModel,
    known: Known,
    inputs: np.ndarray,
    labels: np.ndarray,
    held_out: np.ndarray,
    num_bits: int | None = None,
    changes: int = 0,
) -> Learnt:
    """Codes of new rows, and the network.

    Args:
      served: the old model.
      known: old rows; labels as wide as the new ones.
      inputs: ``[n, ...]`` of the new rows.
      labels: multi-hot ``[n, C]`` of these.
      held_out: bool ``[n]``, rows that the network must not learn from.
      num_bits: length of codes, that of the old ones or more; None for that.
      changes: how many bits of an old code may change.
    """
    started = time.perf_counter()
    record, num_bits = read_model(served.folder), num_bits or served.num_bits
    outputs = np.tanh(real_codes(served.model, inputs, served.bits, served.selector, role="database"))
    # What is measured on rows must not depend on their inputs; their labels say what code they get.
    outputs[held_out] = 0.0
    config = load(record.config)
    bits = selected_bits(served.model, served.bits, served.selector)
    start = find_start(record, _encoder_of(config, num_bits), bits)
    kept = ~held_out
    grown_config = _grown_config(record, num_bits, start.has_trunk, len(known.codes) + int(kept.sum()))
    config = load(grown_config)
    codes = learn_codes(known.codes, known.labels, labels, outputs, config.method.gamma, num_bits, changes)
    old, new = (known.inputs, known.labels, codes.old), (inputs[kept], labels[kept], codes.new[kept])
    joined = (np.concatenate(pair) for pair in zip(old, new, strict=True))
    facts = Sample(*joined), record.input_spec, config.training, config.method
    params = train_network(config.run.seed, _encoder_of(config, num_bits), start, *facts)
    grown = record._replace(
        config=grown_config,
        method_name="dihn",
        num_bits=num_bits,
        num_classes=labels.shape[1],
        params=params,
        selections={},
    )
    return Learnt(codes, grown, time.perf_counter() - started)


def _hold_out(num_rows: int) -> np.ndarray:
    """Which new rows the network does not learn from: bool ``[n]``, one in ten."""
    order = np.random.default_rng(0).permutation(num_rows)
    held_out = np.zeros(num_rows, bool)
    held_out[order[: min(num_rows // HELD_OUT, MOST_QUERIES)]] = True
    return held_out


class _Searched(NamedTuple):
    """Rows that held-out ones are searched in: labels ``[N, C]``, and codes ``[N, K]`` before growing and after."""

    labels: np.ndarray
    before: np.ndarray
    after: np.ndarray


def _score(
    old: ServedModel, new: ServedModel, queries: tuple[np.ndarray, np.ndarray], searched: _Searched
) -> Score | None:
    """Scores of queries (inputs, labels); None if none has a relevant row."""
    inputs, labels = queries
    if not len(inputs):
        return None
    codes = old.encode(inputs, role="query"), new.encode(inputs, role="query")
    found = [
        retrieval.evaluate(code, among, labels, searched.labels)
        for code, among in zip(codes, (searched.before, searched.after), strict=True)
    ]
    counted = found[0].num_queries - found[0].num_without_relevant
    return Score(counted, found[0].map, found[1].map) if counted else None


def _measure(
    old: ServedModel,
    new: ServedModel,
    known: Known,
    codes: Codes,
    brought: tuple[np.ndarray, np.ndarray],
    held_out: np.ndarray,
    num_old: int,
) -> tuple[dict[str, Score], Known]:
    """Scores of held-out rows, and what the next growth needs.

    `brought` are inputs and labels of the new rows; `num_old` classes are old ones.
    """
    inputs, labels = brought
    moved = np.packbits(known.searched_codes, axis=1)
    moved = np.unpackbits(move_codes(moved, known.codes, codes.old), axis=1, count=codes.new.shape[1])
    kept = np.flatnonzero(~held_out)
    searched = _Searched(
        np.concatenate([known.searched_labels, labels[kept]]),
        np.concatenate([known.searched_codes, old.encode(inputs[kept], role="database")]),
        np.concatenate([moved, codes.new[kept]]),
    )
    queries = np.concatenate([known.query_inputs, inputs[held_out]])
    query_labels = np.concatenate([known.query_labels, labels[held_out]])
    is_new = query_labels[:, num_old:].any(axis=1)
    groups = {"all": np.full(len(queries), True), "old classes": ~is_new, "new classes": is_new}
    score = lambda group: _score(old, new, (queries[group], query_labels[group]), searched)
    scores = {name: score(group) for name, group in groups.items()}
    rng = np.random.default_rng(0)
    pairs = (known.inputs, inputs[kept]), (known.labels, labels[kept]), (codes.old, codes.new[kept])
    both = [np.concatenate(pair) for pair in pairs]
    learnt = draw(rng, np.arange(len(both[0])), MOST_LEARNT)
    query = draw(rng, np.arange(len(queries)), MOST_QUERIES)
    among = draw(rng, np.arange(len(searched.after)), MOST_SEARCHED)
    remembered = known._replace(
        inputs=both[0][learnt],
        labels=both[1][learnt],
        codes=both[2][learnt],
        query_inputs=queries[query],
        query_labels=query_labels[query],
        searched_labels=searched.labels[among],
        searched_codes=searched.after[among],
    )
    return {name: score for name, score in scores.items() if score}, remembered


def _check_request(request: Request) -> None:
    if os.path.lexists(request.out):
        raise UserError(f"--out={request.out} is there already: give another name; nothing is overwritten")


def _check_bits(request: Request, num_bits: int) -> None:
    if request.bits and request.bits < num_bits:
        raise UserError(f"--bits={request.bits}: the codes have {num_bits} bits, and can only become longer")
    if not 0 <= request.max_changed_bits <= num_bits:
        raise UserError(f"--max_changed_bits={request.max_changed_bits}: give 0 to {num_bits}, the bits of a code")


@contextlib.contextmanager
def _whole_folder(path: Path) -> Iterator[Path]:
    """Gives a folder to fill, which gets its name when all is written; otherwise nothing is there.

    Raises:
      UserError: it cannot be written, or something has the name by then.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as folder:
            temporary = Path(folder, path.name)
            temporary.mkdir()
            yield temporary
            os.rename(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error


def codes_digest(packed: np.ndarray) -> str:
    """SHA-256 of packed codes uint8 ``[N, B]``."""
    return hashlib.sha256(np.ascontiguousarray(packed).tobytes()).hexdigest()


def changed_bits(before: np.ndarray, after: np.ndarray, num_bits: int) -> np.ndarray:
    """How many of the first bits differ: int ``[N]``, of packed codes of that length and of it or a larger one."""
    return np.bitwise_count(before ^ bundles.cut_codes(after, num_bits)).sum(axis=1)


def _write_bundle(
    path: Path,
    old: bundles.Bundle,
    old_codes: np.ndarray,
    served: ServedModel,
    codes: np.ndarray,
    ids: list[str],
    skipped,
) -> None:
    """The old rows with packed codes, then new ones with codes uint8 ``[n, K]``.

    Logits are left out, since those of two networks cannot be compared.
    """
    bundles.create_bundle(path, served.num_bits, old.manifest.role, served.facts())
    if len(old_codes):
        bundles.append_rows(path, old_codes, old.ids())
    bundles.append_rows(path, np.packbits(codes, axis=1), ids, [each._asdict() for each in skipped])


def grow(request: Request) -> Grown:
    """Writes a new model and a new bundle; the old ones stay as they are.

    Args:
      request: Request.

    Returns:
      Grown.

    Raises:
      UserError: files, labels or a place that cannot work; nothing is written.
    """
    _check_request(request)
    bundle = bundles.open_bundle(request.bundle)
    bundles.check_bundle(request.bundle)
    served = open_model_of(bundle, request.model)
    _check_bits(request, served.num_bits)
    if bundle.manifest.role == "query":
        raise UserError(f"{bundle.path} holds codes of queries: give the bundle that is searched in")
    known = find_known(served, request.old, request.old_labels, lambda inputs: served.encode(inputs, role="database"))
    brought = read_rows(served, request.inputs, request.labels, "images" if not request.labels else "embeddings")
    ids = row_ids(brought, request.ids, len(bundle.codes), frozenset(bundle.ids()), bundle.path)
    flag = f"--labels={request.labels}" if request.labels else f"--images={request.inputs}"
    new = join_labels(Labels(known.labels, known.classes, known.single), brought.labels, brought.classes, flag)
    wide, held_out = known.widened(new.classes), _hold_out(len(ids))
    num_bits, changes = request.bits or served.num_bits, request.max_changed_bits
    learnt = learn(served, wide, brought.inputs, new.rows, held_out, num_bits, changes)
    old_codes = move_codes(np.ascontiguousarray(bundle.codes), known.codes, learnt.codes.old)
    out = Path(request.out)
    with _whole_folder(out) as folder:
        write_model(folder / MODEL, learnt.record)
        grown = load_served(folder)
        _write_bundle(folder / BUNDLE, bundle, old_codes, grown, learnt.codes.new, ids, brought.skipped)
        digest = codes_digest(bundle.codes)
        written = bundles.open_bundle(folder / BUNDLE).codes[: len(bundle.codes)]
        changed = changed_bits(bundle.codes, written, served.num_bits)
        if changed.max(initial=0) > changes:
            raise UserError(f"{out}: the codes of old rows were not written as they are; nothing is kept")
        rows = brought.inputs, new.rows
        scores, kept = _measure(served, grown, wide, learnt.codes, rows, held_out, len(known.classes))
        write_known(folder, kept, {"grown_from": served.sha256, "old_codes": digest, "seconds": learnt.seconds})
    facts = {
        "old_rows": len(bundle.codes),
        "new_rows": len(ids),
        "old_classes": len(known.classes),
        "new_classes": new.classes[len(known.classes) :],
        "bits": (served.num_bits, num_bits),
        "changed": (int(changed.max(initial=0)), float(changed.mean()) if len(changed) else 0.0),
        "learnt_from": (len(known.codes), int((~held_out).sum())),
    }
    return Grown(out, **facts, digest=digest, seconds=learnt.seconds, scores=scores, skipped=brought.skipped)
