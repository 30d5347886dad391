"""``export``: a bundle's codes as files of other software.

    python -m drlhash_jax.main export --bundle=photos.drlh --format=faiss --out=DIR

npy: packed codes and ids.txt. faiss: the file of an IndexBinaryFlat and ids.txt. parquet: one file with id, code, its
bytes and its words as numbers. pgvector: a COPY file and the SQL that loads and searches it.
"""

import sys

from absl import flags

from drlhash_jax.errors import UserError

_BUNDLE = flags.DEFINE_string("bundle", None, "The bundle.")
_FORMAT = flags.DEFINE_enum("format", None, ["npy", "faiss", "parquet", "pgvector"], "What is written.")
_OUT = flags.DEFINE_string("out", None, "Directory of the files; only files of an earlier export are replaced.")


def run() -> None:
    """Writes the files and prints their paths."""
    if not _BUNDLE.value or not _FORMAT.value or not _OUT.value:
        raise UserError("export needs --bundle=NAME.drlh, --format=npy|faiss|parquet|pgvector and --out=DIR")
    from drlhash_jax import bundles

    written = bundles.export_bundle(_BUNDLE.value, _FORMAT.value, _OUT.value)
    codes = bundles.open_bundle(_BUNDLE.value).codes
    # Plain arrays are nobody's index.
    if _FORMAT.value != "npy" and (notice := bundles.repeats_notice(bundles.count_codes(codes), len(codes))):
        print(f"note: {notice}", file=sys.stderr)
    print("written:", *(f"  {path}" for path in written), sep="\n")
