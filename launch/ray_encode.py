"""A bundle of codes by a Ray cluster: each actor loads the model once and codes one part of the inputs after another.

    pip install 'drlhash-jax[ray]'
    python launch/ray_encode.py --shards=64 --model=/shared/run --images=/shared/photos --bundle=/shared/photos.drlh
    python -m drlhash_jax.main compact --bundle=/shared/photos.drlh

Flags are those of `encode`, with how many parts and what an actor takes. Without --address and RAY_ADDRESS, Ray runs on
this machine alone. A part has its name only when it is whole: where an actor or its machine is lost, another codes that
part anew, and where this program is, the same command goes on with the parts that are not there. The paths must be on a
file system that all nodes see. Tested with kills of actors and of this program on one machine; it was not run on a
cluster yet.
"""

import os
import sys
from pathlib import Path

# Before Ray is imported: nothing is reported to its makers.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from absl import app, flags
from ray.util import ActorPool

from drlhash_jax import bundles
from drlhash_jax.commands import encode
from drlhash_jax.errors import UserError

_SHARDS = flags.DEFINE_integer(
    "shards", 16, "Number of parts: a few for each actor, so that little is lost.", 1, 99_999
)
_ADDRESS = flags.DEFINE_string("address", os.environ.get("RAY_ADDRESS", "local"), "Of the cluster: auto, or HOST:PORT.")
_CPUS = flags.DEFINE_float("cpus", 1, "Of an actor; there are as many actors as the cluster holds.", 0.1)
_GPUS = flags.DEFINE_float("gpus", 0, "Of an actor.", 0)
# Ray's store of objects holds nothing but numbers of shards.
_LOCAL = {"include_dashboard": False, "object_store_memory": 100 * 2**20}


@ray.remote(max_restarts=-1, max_task_retries=3)
class Coder:
    """Codes parts, with the values of the flags of `encode`; the model is loaded with the first of them."""

    def __init__(self, given: dict, of: int):
        self.given, self.of, self.whole = given, of, None

    def code(self, number: int) -> str:
        """Codes a part, if it is not there; returns what is to be told. Raises UserError."""
        from drlhash_jax import serving

        given, shard = self.given, bundles.Shard(number, self.of)
        path = shard.path(given["bundle"])
        if path.exists():
            return f"{path}: {len(serving.existing_target(path, given['model']).ids)} rows were there already"
        print(f"begins in process {os.getpid()}: {path}", flush=True)
        settled = (given[name] for name in ("bits", "selector", "role", "logits"))
        self.whole = self.whole or serving.new_target(given["bundle"], given["model"], *settled)
        target = self.whole._replace(path=path, shard=shard)
        if given["images"]:
            filled = serving.encode_folder(target, Path(given["images"]))
        else:
            ids = Path(given["ids"]) if given["ids"] else None
            filled = serving.encode_array(target, given["embeddings"], ids)
        return f"{path}: {filled.added} rows written, {len(filled.skipped)} files left out"


def num_actors() -> int:
    """How many actors the cluster holds, as it is now.

    Raises:
      UserError: not one.
    """
    there = ray.cluster_resources()
    fit = [int(there.get(kind, 0) // wanted) for kind, wanted in (("CPU", _CPUS.value), ("GPU", _GPUS.value)) if wanted]
    if not min(fit):
        raise UserError(
            f"--cpus={_CPUS.value:g} --gpus={_GPUS.value:g}: the cluster has {there.get('CPU', 0):g} and "
            f"{there.get('GPU', 0):g}, which do not hold one actor"
        )
    return min(*fit, _SHARDS.value)


def main(_) -> None:
    """Codes all parts, and tells of each when it is whole."""
    encode.check_flags()
    if flags.FLAGS.append or flags.FLAGS.shard:
        raise UserError("--append and --shard do not go with Ray: give --shards, and join the parts by compact")
    given = {name: flags.FLAGS[name].value for name in ("bits", "selector", "role", "logits")}
    # Actors run in folders of their own. Of FILE.npz:KEY the same.
    for name in ("model", "bundle", "images", "embeddings", "ids"):
        given[name] = flags.FLAGS[name].value and os.path.abspath(flags.FLAGS[name].value)
    ray.init(
        _ADDRESS.value, log_to_driver=False, logging_level="ERROR", **(_LOCAL if _ADDRESS.value == "local" else {})
    )
    coder = Coder.options(num_cpus=_CPUS.value, num_gpus=_GPUS.value)
    pool = ActorPool([coder.remote(given, _SHARDS.value) for _ in range(num_actors())])
    numbers = range(1, _SHARDS.value + 1)
    for done, told in enumerate(pool.map_unordered(lambda actor, number: actor.code.remote(number), numbers), start=1):
        print(f"{done} of {_SHARDS.value}: {told}", flush=True)


def run(argv: list[str]) -> None:
    """`main`, with what went wrong as one line."""
    try:
        main(argv)
    except (UserError, ray.exceptions.RayError) as error:
        sys.exit(f"ray_encode: {' '.join(str(getattr(error, 'cause', error)).split())}")
    finally:
        ray.shutdown()


if __name__ == "__main__":
    app.run(run)
