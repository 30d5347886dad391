"""Directories of runs that no training made: random codes, all that a run writes beside them, and hostile names."""

import json

import numpy as np
from PIL import Image

from drlhash_jax import data, retrieval
from drlhash_jax.codes import save_codes
from drlhash_jax.files import write_arrays, write_json

HOSTILE = "<script>alert(1)<script>\"'&{{ 7 * 7 }} $x_1$"
CLASSES = ("</style><script>alert(2)</script>", '"><img src=x onerror=alert(3)>', "plain")
POOL, LENGTHS = 8, (3, 5)
DEFINITIONS = {
    "map": "mean of average precision",
    "map_at": "ranks that count; null for all",
    "precision_radius2": "mean precision within Hamming distance 2, an empty ball counting 0",
    "empty_balls": "share of queries without any row within distance 2",
    "n_query": "queries that count",
}


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


def _codes(rng):
    """Labels of the 48 pictures, and codes that know them."""
    labels = np.arange(48) % 3
    prototypes = rng.integers(0, 2, (3, POOL))
    return labels, (prototypes[labels] ^ (rng.random((48, POOL)) < 0.2)).astype(np.uint8)


def _measure(codes, labels):
    """The numbers of a result row; the first eight pictures are the queries."""
    found = retrieval.evaluate(codes[:8], codes[8:], labels[:8], labels[8:])
    return {
        "map": found.map,
        "map_at": None,
        "map_interval": [found.map - 0.03, found.map + 0.02],
        "precision_radius2": found.precision_radius2,
        "empty_balls": found.empty_balls,
        "n_query": 8,
        "n_database": 40,
    }


def _average(measured):
    """Means over draws, with the spread of mAP; a single draw as it is."""
    if len(measured) == 1:
        return measured[0]
    mean = {
        name: float(np.mean([each[name] for each in measured])) for name in ("map", "precision_radius2", "empty_balls")
    }
    spread = float(np.std([each["map"] for each in measured], ddof=1))
    return measured[0] | mean | {"map_interval": None, "map_sd": spread, "num_draws": len(measured)}


def _selections(rng):
    """Rows of selection.json."""
    rows = []
    for bits in LENGTHS:
        for selector, draws, evaluations in (("ppo", 1, 50), ("greedy", 1, 20), ("random", 3, 3)):
            orders = [rng.permutation(POOL)[:bits].tolist() for _ in range(draws)]
            facts = {"rewards": rng.random(draws).tolist(), "map_evaluations": evaluations, "seconds": 0.5}
            rows.append({"bits": bits, "selector": selector, "orders": orders, **facts})
    return rows


def make_run(folder, listed, seed=0, protocol="random-8-20-all", learning=True, method="drlhash"):
    """Writes a run's directory on these pictures; returns it. A method other than drlhash chooses no bits."""
    rng = np.random.default_rng(seed)
    labels, codes = _codes(rng)
    chosen = _selections(rng) if method == "drlhash" else []
    facts = {"method": method, "dataset": listed.stem, "protocol": protocol, "seed": seed, "encoder": "compact"}

    def row(role, selector, bits, pool, orders):
        own = {"role": role, "selector": selector, "bits": bits, "pool_bits": pool}
        return facts | own | _average([_measure(codes[:, order], labels) for order in orders])

    rows = [row("pool", "none", POOL, POOL, [np.arange(POOL)])]
    rows += [row("selected", each["selector"], each["bits"], POOL, each["orders"]) for each in chosen]
    rows.append(row("direct", "none", 3, 3, [np.arange(3)]))
    write_json(folder / "metrics.json", {"definitions": DEFINITIONS, "results": rows})
    if chosen:
        reward = {"codes": "crossfit", "queries": 8, "database": 12, "all_bits": 0.5}
        write_json(folder / "selection.json", {"pool_bits": POOL, "reward": reward, "selections": chosen})
    for part, rows_of_part in (("query", slice(8)), ("database", slice(8, None))):
        save_codes(folder / "codes" / part, codes[rows_of_part])
        save_codes(folder / "codes" / f"direct_003_{part}", codes[rows_of_part, :3])
    split = data.Split(protocol, np.arange(8), np.arange(8, 28), np.arange(8, 48))
    write_arrays(folder / "split.npz", {part: getattr(split, part) for part in ("query", "train", "database")})
    settings = {"source": "jsonl", "path": str(listed), "image_size": 12, "cache": ""}
    settings |= {"num_workers": 0, "max_skipped": 0.05}
    config = {"seed": seed, "pool_bits": POOL, "bits": LENGTHS, "data": settings, "encoder": {"name": "compact"}}
    write_json(folder / "config.json", {"format": 2, "drlhash_jax": "0", "config": config | {"method": method}})
    run = {"stages": {"encoder_008": {"seconds": 1.25}, "selection_003_ppo": {"seconds": 2.5}}, "seed": seed}
    run |= {"sessions": [{"argv": [HOSTILE], "git_revision": "c0ffee"}, {"git_revision": "c0ffee"}]}
    run |= {"format": 2, "split": {"protocol": protocol, "digest": data.split_digest(split)}}
    write_json(folder / "run.json", run)
    if learning and chosen:
        scalars = {"max_reward": 1, "mode_reward": 0.4, "best_reward": 0.5}
        curve = [
            {"stage": f"selection_{bits:03d}_ppo", "step": step, "mean_reward": step / 100} | scalars
            for bits in LENGTHS
            for step in range(10)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in curve) + '{"sta')
    return folder
