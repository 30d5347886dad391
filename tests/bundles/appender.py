"""Appends segments of 20 rows to a bundle until it is killed, and tells after each how many rows there are."""

import sys
from pathlib import Path

from bundle_makers import draw_codes, pack

from drlhash_jax import bundles

path = Path(sys.argv[1])
while True:
    number = len(bundles.open_bundle(path).ids())
    bundles.append_rows(path, pack(draw_codes(20, num_bits=12, seed=number)), [f"a{number + i}" for i in range(20)])
    print(number + 20, flush=True)
