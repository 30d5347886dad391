"""Directories of runs that no training made: random codes, all that a run writes beside them, and hostile names."""

import json

import numpy as np
from PIL import Image

from drlhash_jax import retrieval
from drlhash_jax.codes import save_codes
from drlhash_jax.evaluation import result_rows
from drlhash_jax.files import write_arrays, write_json

HOSTILE = "<script>alert(1)<script>\"'&{{ 7 * 7 }} $x_1$"
CLASSES = ("</style><script>alert(2)</script>", '"><img src=x onerror=alert(3)>', "plain")
POOL, LENGTHS = 8, (3, 5)


def make_photos(folder):
    """48 small pictures in three classes, listed in a JSON-lines file with a hostile name; its path."""
    (folder / "photos").mkdir(parents=True)
    rng, lines = np.random.default_rng(0), []
    for number in range(48):
        image = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)
        Image.fromarray(image).save(folder / "photos" / f"{number}.png")
        lines.append(json.dumps({"path": f"photos/{number}.png", "labels": [CLASSES[number % 3]]}))
    listed = folder / f"{HOSTILE}.jsonl"
    listed.write_text("\n".join(lines))
    return listed


def make_run(folder, listed, seed=0, protocol="random-8-20-all", learning=True):
    """Writes a run's directory on these pictures; returns it."""
    rng = np.random.default_rng(seed)
    labels = np.arange(48) % 3
    query, database = np.arange(8), np.arange(8, 48)
    prototypes = rng.integers(0, 2, (3, POOL))
    codes = (prototypes[labels] ^ (rng.random((48, POOL)) < 0.2)).astype(np.uint8)

    def measure(columns):
        found = retrieval.evaluate(
            codes[query][:, columns], codes[database][:, columns], labels[query], labels[database]
        )
        numbers = dict.fromkeys(("map", "map_stable"), found.map) | {
            "map_low": found.map_low,
            "map_high": found.map_high,
        }
        numbers |= {"precision_radius2": found.precision_radius2, "empty_balls": found.empty_balls}
        return numbers | {"map_at": None, "n_query": 8, "n_database": 40}

    facts = {"method": "drlhash", "dataset": listed.stem, "protocol": protocol, "seed": seed, "encoder": "compact"}
    row = lambda selector, bits, pool, orders: {
        **facts,
        **{"selector": selector, "bits": bits, "pool_bits": pool},
        **result_rows.average([measure(order) for order in orders]),
    }
    chosen = {
        bits: {
            selector: {
                "order": np.stack([rng.permutation(POOL)[:bits] for _ in range(draws)]),
                "reward": rng.random(draws),
                "evaluations": np.array(evaluations),
                "seconds": np.array(0.5),
            }
            for selector, draws, evaluations in (("ppo", 1, 50), ("greedy", 1, 20), ("random", 3, 3))
        }
        for bits in LENGTHS
    }
    rows = [row("none", POOL, POOL, [np.arange(POOL)])]
    rows += [row(name, bits, POOL, found["order"]) for bits, by in chosen.items() for name, found in by.items()]
    rows.append(row("none", 3, 3, [np.arange(3)]))
    write_json(folder / "metrics.json", {"definitions": result_rows.DEFINITIONS, "results": rows})
    reward = {"codes": "crossfit", "queries": 8, "database": 12, "all_bits": 0.5}
    selections = result_rows.selection_rows(POOL, chosen)
    write_json(folder / "selection.json", {"pool_bits": POOL, "reward": reward, "selections": selections})
    save_codes(folder / "codes" / "query", codes[query])
    save_codes(folder / "codes" / "database", codes[database])
    write_arrays(folder / "split.npz", {"query": query, "train": database[:20], "database": database})
    own = {"query": codes[query][:, :3], "database": codes[database][:, :3]}
    write_arrays(folder / "checkpoints" / "encoder_003.npz", own)
    data = {
        "source": "jsonl",
        "path": str(listed),
        "image_size": 12,
        "cache": "",
        "num_workers": 0,
        "max_skipped": 0.05,
    }
    config = {"seed": seed, "pool_bits": POOL, "bits": LENGTHS, "data": data, "encoder": {"name": "compact"}}
    write_json(folder / "config.json", {"drlhash_jax": "0", "config": config})
    run = {"stages": {"encoder_008": {"seconds": 1.25}, "selection_003_ppo": {"seconds": 2.5}}, "seed": seed}
    run |= {"argv": [HOSTILE], "git_revision": "c0ffee", "split": {"protocol": protocol, "digest": f"{seed:064x}"}}
    write_json(folder / "run.json", run)
    if learning:
        scalars = {"max_reward": 1, "mode_reward": 0.4, "best_reward": 0.5}
        curve = [
            {"stage": f"selection_{bits:03d}_ppo", "step": step, "mean_reward": step / 100} | scalars
            for bits in LENGTHS
            for step in range(10)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in curve) + '{"sta')
    return folder
