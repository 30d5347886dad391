"""What a run leaves behind: codes, model, selections and numbers; the first process writes."""

import numpy as np

from drlhash_jax import bit_selection, data, evaluation, runs
from drlhash_jax.codes import count_unlabelled, save_codes
from drlhash_jax.files import write_arrays, write_json, write_json_lines
from drlhash_jax.pipeline.hashing import Hashed
from drlhash_jax.pipeline.load import Loaded
from drlhash_jax.pipeline.run import Run


def record_start(workdir: runs.Workdir, loaded: Loaded) -> None:
    """Writes what the run starts from."""
    dataset, split = loaded.dataset, loaded.split
    parts = {"query": split.query, "train": split.train, "database": split.database}

    def write() -> None:
        write_arrays(workdir.path / "split.npz", parts)
        if dataset.skipped:
            write_json_lines(workdir.path / "skipped.jsonl", [each._asdict() for each in dataset.skipped])

    runs.in_first_process(write)
    workdir.record(
        split={"protocol": split.protocol, "digest": data.split_digest(split)},
        rows={name: len(rows) for name, rows in parts.items()},
        unlabelled_training_rows=count_unlabelled(dataset.labels[split.train]),
        classes=dataset.classes,
        skipped=len(dataset.skipped),
    )
    if loaded.weights:
        workdir.record(weights=loaded.weights)


def write_codes(run: Run, codes: dict[str, np.ndarray | None]) -> None:
    """Writes codes uint8 ``[., K]`` by name; those that are None are left out."""
    folder = run.workdir.path / "codes"
    two_functions = run.method(run.config.run.pool_bits).database_logits is not None

    def write() -> None:
        for name, each in codes.items():
            if each is not None:
                role = ("query" if name.endswith("query") else "database") if two_functions else None
                save_codes(folder / name, each, role)

    runs.in_first_process(write)


def write_direct(run: Run, hashed: Hashed) -> None:
    """Codes of an encoder that was trained at a selected length, for figures that compare the two."""
    bits = hashed.query.shape[1]
    write_codes(run, {f"direct_{bits:03d}_query": hashed.query, f"direct_{bits:03d}_database": hashed.database})


def _with_noise(env: bit_selection.EnvParams, by_selector: dict[str, dict]) -> dict[str, dict]:
    """Selections of one length, each with the noise of its first reward and of its lead over greedy's."""
    greedy = by_selector["greedy"]["order"][0] if "greedy" in by_selector else None

    def noise(order: np.ndarray) -> tuple[float | None, ...]:
        found = bit_selection.reward_noise(env, order, order if greedy is None else greedy)
        return tuple(found) if greedy is not None else (found.error, None, None, None)

    return {name: found | {"noise": noise(found["order"][0])} for name, found in by_selector.items()}


def write_selections(run: Run, env: bit_selection.EnvParams, selections: dict[int, dict]) -> None:
    """Writes selection.json: the chosen bits, their rewards, and how sure these are."""
    selections = {bits: _with_noise(env, by_selector) for bits, by_selector in selections.items()}
    reward = {
        "codes": run.config.reward_codes,
        "queries": int(np.sum(env.query.weights)),
        "database": int(np.sum(env.database.weights)),
        "all_bits": round(float(bit_selection.order_reward(env, np.arange(env.pool_bits))), 6),
    }
    value = {
        "pool_bits": env.pool_bits,
        "reward": reward,
        "learning_curve": "metrics.jsonl, stages selection_*",
        "reward_error": "standard error of the first reward over the reward's queries; over_greedy: its lead over "
        "greedy's reward on the same queries, with the 95 % interval of the paired differences",
        "selections": evaluation.selection_rows(env.pool_bits, selections),
    }
    runs.in_first_process(lambda: write_json(run.workdir.path / "selection.json", value))


def write_pool(run: Run, pool: Hashed, heldout: np.ndarray | None, orders: dict[int, dict[str, list[int]]]) -> None:
    """The model and the pool's codes, for use outside a run."""
    named = {"query": pool.query, "database": pool.database, "train": pool.train, "train_query": pool.train_query}
    named |= {"train_heldout": heldout}
    if pool.before and "codes" in pool.before:
        named["train_target"] = pool.before["codes"]
    write_codes(run, named)
    facts = {
        "config": run.workdir.config,
        "method_name": run.config.run.method,
        "num_bits": pool.query.shape[1],
        "num_classes": run.rows.num_classes,
        "input_spec": run.rows.spec,
        "input_shape": run.rows.inputs.shape[1:],
        "params": pool.params,
        "selections": orders,
        "image_files": run.dataset.image_spec._asdict() if run.dataset.image_spec else None,
    }
    record = runs.ModelRecord(**facts)
    runs.in_first_process(lambda: runs.write_model(run.workdir.path / "model", record))


def measured_row(run: Run, role: str, selector: str, seconds: float, codes: list[tuple]) -> dict:
    """A result row; codes are (query, database) pairs of one length, one pair for each draw."""
    settings, split, dataset = run.config.run, run.split, run.dataset
    facts = evaluation.RunFacts(settings.method, dataset.name, split.protocol, settings.seed, run.config.encoder.name)
    labels = data.query_labels(dataset.labels, split), dataset.labels[split.database]
    task = evaluation.Task(*labels, settings.top_k, run.devices)
    pool_bits = settings.pool_bits if role == "selected" else None
    return evaluation.result_row(facts, task, role, codes, selector=selector, pool_bits=pool_bits, seconds=seconds)


def write_results(run: Run, rows: list[dict]) -> None:
    """Writes metrics.json."""
    value = evaluation.metrics_content(rows)
    runs.in_first_process(lambda: write_json(run.workdir.path / "metrics.json", value))
