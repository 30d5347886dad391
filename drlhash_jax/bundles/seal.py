"""Seals: signed statements of which records a bundle held, each of which holds the digest of the former.

``seals.jsonl`` has one signed line a seal, a chain; ``sealed-N.npz`` lists the records of the last one: their ids, and
16 bytes of each record's SHA-256, so that what changed since is named by its id. A manifest's digests find damage, but
whoever changes the codes can write them anew; a signature takes the key. A seal says neither when it was made nor that
it is the newest: someone with an older copy of the whole bundle can put that back. Whoever must notice keeps the digest
of the last seal elsewhere.

Signatures are Ed25519 (RFC 8032) by the package cryptography, imported here alone where it is used.
"""

import bisect
import hashlib
import io
import json
import os
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from drlhash_jax.bundles.bundle import Bundle, open_bundle
from drlhash_jax.bundles.manifest import MANIFEST
from drlhash_jax.bundles.verify import check_bundle, find_faults
from drlhash_jax.bundles.write import only_writer
from drlhash_jax.errors import UserError
from drlhash_jax.files import sha256_of, write_arrays, write_atomically, write_error

SEALS = "seals.jsonl"
_FORMAT = 1
# No signature of this key over anything else can be taken for a seal.
_DOMAIN = b"drlhash seal\n"
# A change must hit the tag of one given record: 2^128 attempts.
_TAG_BYTES = 16


class Seal(NamedTuple):
    """One line of the chain, without its signature.

    Attributes:
      format: of the line.
      number: 1 for the first seal of a bundle.
      former: SHA-256 of the line before; None for the first.
      bits: K.
      rows: that were sealed.
      records: SHA-256 of ``sealed-N.npz``.
      manifest: SHA-256 of manifest.json, which covers the digests of all files.
    """

    format: int
    number: int
    former: str | None
    bits: int
    rows: int
    records: str
    manifest: str


class Sealed(NamedTuple):
    """The last seal of a bundle.

    Attributes:
      number: of seals in the chain.
      digest: SHA-256 of the last one's line.
    """

    number: int
    digest: str


def _ed25519() -> tuple[Any, Any]:
    """Modules of the package cryptography: keys, and their files."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise UserError("seals need the package cryptography: pip install 'drlhash-jax[seal]'") from error
    return ed25519, serialization


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise UserError(f"{path} is there already: a key is never overwritten, give another name") from error
    except OSError as error:
        raise write_error(path, error) from error
    with open(descriptor, "wb") as file:
        file.write(content)


def make_key(path: str | Path) -> Path:
    """Makes a key to sign with, readable by its owner alone, and beside it the public one.

    Args:
      path: of the private key, PEM; must not exist.

    Returns:
      The path of the public key: ``key.public.pem`` for ``key.pem``.

    Raises:
      UserError: one of the files is there already, or cannot be written.
    """
    ed25519, serialization = _ed25519()
    private, pem = Path(path), serialization.Encoding.PEM
    public = private.with_name(f"{private.stem}.public.pem")
    if os.path.lexists(public):
        raise UserError(f"{public} is there already: a key is never overwritten, give another name")
    key = ed25519.Ed25519PrivateKey.generate()
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    _write_new(private, key.private_bytes(pem, *plain), 0o600)
    _write_new(public, key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo), 0o644)
    return public


def _read_key(path: Path, private: bool) -> Any:
    ed25519, serialization = _ed25519()
    kind = "private" if private else "public"
    try:
        content = path.read_bytes()
        key = (
            serialization.load_pem_private_key(content, None) if private else serialization.load_pem_public_key(content)
        )
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    # TypeError: a key with a password. The package has an exception of its own for algorithms that it lacks.
    except Exception as error:
        raise UserError(f"{path} is no {kind} key in PEM without a password: seal --new-key makes one") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey if private else ed25519.Ed25519PublicKey):
        raise UserError(f"{path} is a {kind} key of another kind than Ed25519: seal --new-key makes one")
    return key


def _signed_bytes(seal: Seal) -> bytes:
    return _DOMAIN + json.dumps(seal._asdict()).encode()


def _line(seal: Seal, signature: bytes) -> bytes:
    return json.dumps(seal._asdict() | {"signature": signature.hex()}).encode() + b"\n"


def _read_line(line: bytes) -> tuple[Seal, bytes]:
    """Raises ValueError, KeyError or TypeError on what is not byte for byte as `_line` writes it."""
    value = json.loads(line)
    signature = bytes.fromhex(value.pop("signature"))
    seal = Seal(**value)
    if _line(seal, signature) != line or seal.format != _FORMAT:
        raise ValueError(line)
    return seal, signature


def _read_chain(folder: Path, public_key: Any) -> tuple[list[Seal], str | None]:
    """All seals, and the digest of the last line.

    Raises:
      UserError: names the first line that is damaged, of another key, or not the one that follows.
    """
    path, seals, former = folder / SEALS, [], None
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        try:
            seal, signature = _read_line(line)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{path}, line {number} is no seal: it is cut off, damaged or was edited") from error
        try:
            public_key.verify(signature, _signed_bytes(seal))
        except _invalid_signature() as error:
            raise UserError(f"{path}, line {number} was not signed by this key, or was edited") from error
        if (seal.number, seal.former) != (number, former):
            raise UserError(f"{path}, line {number} does not follow on the line before: seals are missing or reordered")
        former = hashlib.sha256(line).hexdigest()
        seals.append(seal)
    return seals, former


def _invalid_signature() -> type[Exception]:
    from cryptography.exceptions import InvalidSignature

    return InvalidSignature


def _tags(bundle: Bundle, ids: list[str]) -> np.ndarray:
    """Tags uint8 ``[N, 16]`` of records. A code has a fixed length, so that code and id are told apart."""
    codes, width = bundle.codes.tobytes(), bundle.codes.shape[1]
    tags = b"".join(
        hashlib.sha256(codes[row * width : (row + 1) * width] + name.encode()).digest()[:_TAG_BYTES]
        for row, name in enumerate(ids)
    )
    return np.frombuffer(tags, np.uint8).reshape(-1, _TAG_BYTES)


def _records_path(folder: Path, number: int) -> Path:
    return folder / f"sealed-{number:06d}.npz"


def seal_bundle(path: str | Path, private_key: str | Path) -> Sealed:
    """Signs the records that a bundle holds now; the bundle's own files stay as they are.

    Args:
      path: the bundle, which is checked as by `find_faults` first.
      private_key: file of an Ed25519 key in PEM, that of the bundle's earlier seals if it has any.

    Returns:
      Sealed.

    Raises:
      UserError: no such key, a damaged bundle, earlier seals that are damaged or of another key, or it cannot be
        written; the earlier seals stay as they were.
    """
    folder, key = Path(path), _read_key(Path(private_key), private=True)
    with only_writer(folder) as manifest:
        check_bundle(folder)
        seals, former = _read_chain(folder, key.public_key())
        bundle, number = open_bundle(folder), len(seals) + 1
        ids = bundle.ids()
        # No id holds a line break.
        names = np.frombuffer(zlib.compress("\n".join(ids).encode(), 1), np.uint8)
        records = _records_path(folder, number)
        write_arrays(records, {"ids": names, "tags": _tags(bundle, ids)})
        digests = sha256_of(records), sha256_of(folder / MANIFEST)
        seal = Seal(_FORMAT, number, former, manifest.num_bits, len(ids), *digests)
        line = _line(seal, key.sign(_signed_bytes(seal)))
        earlier = (folder / SEALS).read_bytes() if seals else b""
        write_atomically(folder / SEALS, lambda file: file.write(earlier + line))
        _records_path(folder, number - 1).unlink(missing_ok=True)
    return Sealed(number, hashlib.sha256(line).hexdigest())


def _read_records(folder: Path, seal: Seal) -> tuple[list[str], np.ndarray]:
    """Ids and tags of a seal; nothing of the file is looked at before its digest is the signed one."""
    path = _records_path(folder, seal.number)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; it belongs to the last seal") from error
    if hashlib.sha256(content).hexdigest() != seal.records:
        raise UserError(f"{path} is not the list that was signed: it is damaged or was edited")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        text, tags = zlib.decompress(arrays["ids"].tobytes()).decode(), arrays["tags"]
    return text.split("\n") if seal.rows else [], tags


def _moved(places: list[int]) -> list[int]:
    """Positions outside a longest ascending run of different places: the fewest records that must have moved.

    Patience sorting, O(n log n): M. L. Fredman, Discrete Mathematics 11, 1975.
    """
    ends: list[int] = []
    lengths = []
    for place in places:
        length = bisect.bisect_left(ends, place)
        ends[length : length + 1] = [place]
        lengths.append(length)
    wanted, moved = len(ends) - 1, []
    limit = max(places, default=0) + 1
    for position in range(len(places) - 1, -1, -1):
        if lengths[position] == wanted and places[position] < limit:
            wanted, limit = wanted - 1, places[position]
        else:
            moved.append(position)
    return moved[::-1]


def _changes(bundle: Bundle, sealed_ids: list[str], sealed_tags: np.ndarray) -> list[str]:
    """One line for each record that is not as it was sealed; rows of what is there are those of the bundle now."""
    ids = bundle.ids()
    tags = _tags(bundle, ids)
    if ids == sealed_ids and np.array_equal(tags, sealed_tags):
        return []
    then, now = ({name: row for row, name in enumerate(names)} for names in (sealed_ids, ids))
    common = [(row, name) for row, name in enumerate(ids) if name in then]
    places = [then[name] for _, name in common]
    differ = (tags[[row for row, _ in common]] != sealed_tags[places]).any(axis=1)
    lines = [f"row {common[i][0]}, {common[i][1]}: its code was changed" for i in np.flatnonzero(differ).tolist()]
    lines += [f"row {row}, {name}: it was added" for row, name in enumerate(ids) if name not in then]
    lines += [f"row {row} of the seal, {name}: it was removed" for name, row in then.items() if name not in now]
    lines += [f"row {common[i][0]}, {common[i][1]}: it was moved, from row {places[i]}" for i in _moved(places)]
    return lines


def find_seal_faults(path: str | Path, public_key: str | Path) -> tuple[list[str], Sealed | None]:
    """Checks the chain of seals, and the bundle against the last one.

    Args:
      path: the bundle.
      public_key: file of an Ed25519 key in PEM.

    Returns:
      One line for each fault, those of `find_faults` first, then the records that were changed, added, removed or
      moved; and the last seal, None where the chain cannot be trusted.

    Raises:
      UserError: no such key, or the bundle was never sealed.
    """
    folder, key = Path(path), _read_key(Path(public_key), private=False)
    faults, sealed = find_faults(folder), None
    try:
        seals, digest = _read_chain(folder, key)
        if not seals:
            raise UserError(f"{folder} has no {SEALS}: it was not sealed, or its seals were taken away")
        sealed = Sealed(len(seals), digest)
        ids, tags = _read_records(folder, seals[-1])
        bundle = open_bundle(folder)
        if bundle.num_bits != seals[-1].bits:
            raise UserError(f"{folder} has {bundle.num_bits} bits, {seals[-1].bits} were sealed")
        changes = [f"{folder} changed since it was sealed: {line}" for line in _changes(bundle, ids, tags)]
        if not changes and sha256_of(folder / MANIFEST) != seals[-1].manifest:
            what = "its records are the same, its files, model or logits are not (compact does that)"
            changes = [f"{folder} changed since it was sealed: {what}; seal it again"]
        faults += changes
    except UserError as error:
        faults += [str(error)] if str(error) not in faults else []
    return faults, sealed
