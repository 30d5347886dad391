"""A whole run: labels -> target codes -> encoder -> selected bits -> retrieval numbers.

The one place where the pure stages meet files, configurations and clocks. Every stage is a function of its inputs and
of a key that depends on the seed and the stage alone, so a run that was interrupted ends as it would have.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import ml_collections
import numpy as np

from drlhash_jax import (
    bit_selection,
    data,
    encoders,
    parallel,
    retrieval,
    runs,
    target_codes,
    terminal,
    training,
    weights,
)
from drlhash_jax.codes import save_codes
from drlhash_jax.config import check_against_data, check_against_devices, check_config
from drlhash_jax.errors import UserError
from drlhash_jax.evaluation import result_rows
from drlhash_jax.files import sha256_of, write_arrays, write_json, write_json_lines
from drlhash_jax.types import Array, BitSelection, Checkpoint

_STAGES = ("target_codes", "crossfit", "encoder", "reward", "selection")


class _Run(NamedTuple):
    """What every stage needs.

    Attributes:
      config: the configuration.
      workdir: the run's directory.
      dataset: Dataset.
      split: Split.
      spec: normalisation of the inputs; None where there are none.
      pretrained: layers that every encoder starts from; None for a random start.
      devices: that share the work of every stage.
    """

    config: ml_collections.ConfigDict
    workdir: runs.Workdir
    dataset: data.Dataset
    split: data.Split
    spec: encoders.InputSpec | None
    pretrained: dict | None
    devices: parallel.Devices

    def key(self, stage: str, index: int = 0) -> Array:
        """Key of a stage: depends on the seed, the stage and a number, not on what ran before."""
        root = jax.random.key(self.config.seed)
        return jax.random.fold_in(jax.random.fold_in(root, _STAGES.index(stage)), index)

    @property
    def train_labels(self) -> np.ndarray:
        return self.dataset.labels[self.split.train]

    @property
    def train_inputs(self) -> np.ndarray:
        return self.dataset.inputs[self.split.train]


def _plain(config: ml_collections.ConfigDict) -> dict:
    return {
        key: _plain(value) if isinstance(value, ml_collections.ConfigDict) else value for key, value in config.items()
    }


def _encoder_options(config: ml_collections.ConfigDict) -> dict:
    """Attributes of the encoder's class."""
    return _plain(config.encoder.options) | {"compute_dtype": config.encoder.compute_dtype}


def _read_pretrained(config: ml_collections.ConfigDict) -> tuple[dict, dict]:
    """Layers of the published weights, and what run.json says about their file."""
    name = config.encoder.name
    path = weights.find_weights(config.encoder.weights, name)
    arrays = weights.read_weights(path)
    encoder = encoders.make_encoder(name, 1, **_encoder_options(config))
    facts = {"file": path.name, "sha256": sha256_of(path), "tensors": len(arrays)}
    return encoders.import_weights(name, encoder, arrays), facts


class _Loaded(NamedTuple):
    """What a run reads before it writes anything.

    Attributes:
      dataset: Dataset.
      split: Split.
      spec: normalisation of the inputs; None where there are none.
      pretrained: layers that every encoder starts from; None for a random start.
      weights: what run.json says about their file.
      devices: all that JAX finds.
    """

    dataset: data.Dataset
    split: data.Split
    spec: encoders.InputSpec | None
    pretrained: dict | None
    weights: dict | None
    devices: parallel.Devices


def _load(config: ml_collections.ConfigDict) -> _Loaded:
    """Loads and checks everything before anything is computed or written."""
    check_config(config)
    devices = parallel.find_devices(config.parallel)
    check_against_devices(config, devices.mesh.size)
    settings = {field: config.data[field] for field in data.DataSettings._fields}
    dataset = data.load_dataset(config.data.source, **settings)
    name, protocol = data.find_protocol(
        config.data.protocol, config.data.query, config.data.train, config.data.train_in_database
    )
    split = data.make_split(dataset, name, protocol, config.seed)
    check_against_data(config, dataset.inputs, len(split.train), dataset.image_spec is not None)
    spec = pretrained = weights = None
    if dataset.inputs is not None:
        train_inputs = dataset.inputs[split.train]
        sizes = {"image_size": config.encoder.image_size or None, "crop_size": config.encoder.crop_size or None}
        spec = encoders.fit_input_spec(train_inputs, encoder=config.encoder.name, **sizes)
        if config.encoder.weights and config.last_stage != "target_codes":
            pretrained, weights = _read_pretrained(config)
    return _Loaded(dataset, split, spec, pretrained, weights, devices)


def _record(workdir: runs.Workdir, loaded: _Loaded) -> None:
    """Writes what the run starts from."""
    dataset, split = loaded.dataset, loaded.split
    write_arrays(workdir.path / "split.npz", {"query": split.query, "train": split.train, "database": split.database})
    workdir.record(
        split={"protocol": split.protocol, "digest": data.split_digest(split)},
        rows={"query": len(split.query), "train": len(split.train), "database": len(split.database)},
        unlabelled_training_rows=retrieval.count_unlabelled(dataset.labels[split.train]),
        classes=dataset.classes,
        skipped=len(dataset.skipped),
    )
    if dataset.skipped:
        write_json_lines(workdir.path / "skipped.jsonl", [each._asdict() for each in dataset.skipped])
    if loaded.weights:
        workdir.record_once(weights=loaded.weights)


def _target_codes(run: _Run, num_bits: int) -> np.ndarray:
    """Stage 1: target codes uint8 ``[n, num_bits]`` of the training rows."""
    name = f"target_codes_{num_bits:03d}"
    settings = target_codes.TargetCodeSettings(**run.config.target_codes)

    def compute(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
        with terminal.StageProgress(f"target codes, {num_bits} bits", settings.num_epochs) as progress:
            result = target_codes.infer_target_codes(
                run.key("target_codes", num_bits),
                run.train_labels,
                num_bits,
                settings,
                run.devices,
                lambda done, loss: progress.update(done, f"loss {loss:.4f}"),
                checkpoint,
            )
        for epoch in range(0, settings.num_epochs, 50):
            run.workdir.metrics.write(name, epoch, loss=result.loss[epoch])
        run.workdir.metrics.write(name, settings.num_epochs - 1, loss=result.loss[-1])
        return {"codes": result.codes, "loss": result.loss, "path": np.array(result.path)}

    return run.workdir.stage(name, compute)["codes"]


def _encoder(run: _Run, num_bits: int) -> nn.Module:
    return encoders.make_encoder(run.config.encoder.name, num_bits, **_encoder_options(run.config))


def _heldout_codes(run: _Run, targets: np.ndarray) -> np.ndarray:
    """Codes of the training rows by encoders that did not fit them: uint8 ``[n, K]``."""
    num_bits = targets.shape[1]
    settings = training.TrainingSettings(**run.config.training)
    num_folds = run.config.reward.num_folds
    name = lambda fold: f"crossfit_{num_bits:03d}_{fold}"

    def run_fold(fold: int, fit: Callable[..., np.ndarray]) -> np.ndarray:
        def compute(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
            with terminal.StageProgress(f"cross-fit, {fold + 1} of {num_folds} folds", settings.num_epochs) as progress:

                def on_epoch(epoch: int, loss: float) -> None:
                    run.workdir.metrics.write(name(fold), epoch, loss=loss)
                    progress.update(epoch + 1, f"loss {loss:.4f}")

                return {"codes": fit(on_epoch, checkpoint)}

        return run.workdir.stage(name(fold), compute)["codes"]

    return training.cross_fit_codes(
        run.key("crossfit"),
        _encoder(run, num_bits),
        run.train_inputs,
        targets,
        run.spec,
        settings,
        num_folds,
        run.pretrained,
        run.devices,
        run_fold,
    )


class _Encoded(NamedTuple):
    """Stage 2's result: codes uint8 ``[., K]`` of each part of the split, and the encoder's parameters."""

    train: np.ndarray
    query: np.ndarray
    database: np.ndarray
    params: dict


def _mapping(run: _Run, targets: np.ndarray) -> _Encoded:
    """Stage 2: trains the encoder on all training rows and encodes every part of the split."""
    num_bits = targets.shape[1]
    name = f"encoder_{num_bits:03d}"
    settings = training.TrainingSettings(**run.config.training)
    encoder = _encoder(run, num_bits)

    def compute(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
        with terminal.StageProgress(f"encoder, {num_bits} bits", settings.num_epochs) as progress:

            def on_epoch(epoch: int, loss: float) -> None:
                run.workdir.metrics.write(name, epoch, loss=loss)
                progress.update(epoch + 1, f"loss {loss:.4f}")

            rows = np.arange(len(run.split.train))
            key = run.key("encoder", num_bits)
            params = training.fit_encoder(
                key,
                encoder,
                run.train_inputs,
                targets,
                rows,
                run.spec,
                settings,
                on_epoch,
                run.pretrained,
                run.devices,
                checkpoint,
            )
        encode = lambda part: training.encode_codes(
            encoder, params, data.select_rows(run.dataset.inputs, part), run.spec, devices=run.devices
        )
        codes = {name: encode(getattr(run.split, name)) for name in ("train", "query", "database")}
        return codes | {f"params/{key}": value for key, value in runs.flatten_params(params).items()}

    arrays = run.workdir.stage(name, compute)
    params = {key.removeprefix("params/"): value for key, value in arrays.items() if key.startswith("params/")}
    return _Encoded(arrays["train"], arrays["query"], arrays["database"], runs.unflatten_params(params))


def _reward_environment(run: _Run, codes: np.ndarray) -> bit_selection.EnvParams:
    """The reward sample: some training rows as queries, the others as the database."""
    config, labels = run.config.reward, run.train_labels
    order = np.asarray(jax.random.permutation(run.key("reward"), len(labels)))
    query, database = order[: config.num_queries], order[config.num_queries :]
    if config.num_database:
        database = database[: config.num_database]
    env = bit_selection.EnvParams(
        query=retrieval.pack_distinct(codes[query], labels[query]),
        database=retrieval.pack_distinct(codes[database], labels[database]),
        pool_bits=codes.shape[1],
        top_k=run.config.top_k or None,
    )
    if not np.isfinite(bit_selection.order_reward(env, np.arange(codes.shape[1]))):
        raise UserError(f"reward.num_queries={config.num_queries}: none of these rows shares a label with the others")
    return env


def _selectors(run: _Run, stage: Callable[[str], str]) -> dict:
    """Selector name -> function of (key, env, p, checkpoint) that returns a BitSelection.

    Args:
      run: _Run.
      stage: selector name -> name of its stage.
    """
    settings = bit_selection.PPOSettings(**run.config.ppo)

    def ppo(key: Array, env: bit_selection.EnvParams, num_selected: int, checkpoint: Checkpoint) -> BitSelection:
        with terminal.StageProgress(f"PPO, {num_selected} of {env.pool_bits} bits", settings.num_updates) as progress:

            def on_call(done: int, metrics: bit_selection.UpdateMetrics) -> None:
                for row, update in enumerate(range(done - len(metrics.kl), done)):
                    scalars = {name: values[row] for name, values in metrics._asdict().items()}
                    run.workdir.metrics.write(stage("ppo"), update, **scalars)
                progress.update(done, f"reward {float(metrics.best_reward[-1]):.4f}")

            return bit_selection.select_ppo(key, env, num_selected, settings, on_call, run.devices, checkpoint)

    # The others take seconds, and start again where they are interrupted.
    whole = lambda select: lambda key, env, num_selected, checkpoint: select(key, env, num_selected)
    # As many draws as PPO plays episodes.
    num_draws = settings.num_updates * settings.num_envs
    best_of_random = functools.partial(bit_selection.select_best_of_random, num_draws=num_draws, devices=run.devices)
    return {
        "ppo": ppo,
        "greedy": whole(functools.partial(bit_selection.select_greedy, devices=run.devices)),
        "entropy": whole(bit_selection.select_by_entropy),
        "random": whole(bit_selection.select_random),
        "first": whole(bit_selection.select_first),
        "best_of_random": whole(best_of_random),
    }


def _selection(run: _Run, env: bit_selection.EnvParams, num_selected: int) -> dict[str, dict[str, np.ndarray]]:
    """Stage 3: selector -> order ``[draws, p]``, reward ``[draws]``, evaluations and seconds."""
    stage = lambda name: f"selection_{num_selected:03d}_{name}"
    key = run.key("selection", num_selected)
    selections = {}
    for name, select in _selectors(run, stage).items():
        if name not in run.config.selectors:
            continue
        draws = run.config.random_draws if name == "random" else 1

        def compute(checkpoint: Checkpoint, select=select, draws=draws) -> dict[str, np.ndarray]:
            found = [select(jax.random.fold_in(key, draw), env, num_selected, checkpoint) for draw in range(draws)]
            return {
                "order": np.stack([np.asarray(each.order) for each in found]),
                "reward": np.array([float(each.reward) for each in found], np.float32),
                "evaluations": np.array(sum(each.num_evaluations for each in found)),
            }

        arrays = run.workdir.stage(stage(name), compute)
        selections[name] = arrays | {"seconds": np.array(run.workdir.seconds(stage(name)))}
    return selections


def _row(run: _Run, selector: str, bits: int, pool_bits: int, seconds: float, codes: list[tuple]) -> dict:
    """Result row of one selector, or of an encoder as trained; codes are (query, database) pairs, one a draw."""
    labels = run.dataset.labels[run.split.query], run.dataset.labels[run.split.database]
    measured = [result_rows.measure(*pair, *labels, run.config.top_k or None, run.devices) for pair in codes]
    return {
        "method": "drlhash",
        "selector": selector,
        "bits": bits,
        "pool_bits": pool_bits,
        "dataset": run.dataset.name,
        "protocol": run.split.protocol,
        "seed": run.config.seed,
        "encoder": run.config.encoder.name,
        **result_rows.average(measured),
        "seconds": round(seconds, 3),
    }


def _encoder_row(run: _Run, encoded: _Encoded) -> dict:
    bits = encoded.query.shape[1]
    seconds = run.workdir.seconds(f"encoder_{bits:03d}")
    return _row(run, "none", bits, bits, seconds, [(encoded.query, encoded.database)])


def _write_selections(run: _Run, env: bit_selection.EnvParams, selections: dict[int, dict]) -> None:
    reward = {
        "codes": run.config.reward.codes,
        "queries": int(np.sum(env.query.weights)),
        "database": int(np.sum(env.database.weights)),
        "all_bits": round(float(bit_selection.order_reward(env, np.arange(env.pool_bits))), 6),
    }
    value = {
        "pool_bits": env.pool_bits,
        "reward": reward,
        "learning_curve": "metrics.jsonl, stages selection_*",
        "selections": result_rows.selection_rows(env.pool_bits, selections),
    }
    write_json(run.workdir.path / "selection.json", value)


def _write_pool(run: _Run, pool: _Encoded, targets: np.ndarray, heldout: np.ndarray | None, orders: dict) -> None:
    """The model and the pool's codes, for use outside a run."""
    folder = run.workdir.path / "codes"
    named = {"query": pool.query, "database": pool.database, "train": pool.train, "train_target": targets}
    if heldout is not None:
        named["train_heldout"] = heldout
    for name, codes in named.items():
        save_codes(folder / name, codes)
    runs.save_model(
        run.workdir.path / "model",
        pool.params,
        run.spec,
        encoder=run.config.encoder.name,
        options=_encoder_options(run.config),
        num_bits=targets.shape[1],
        selections=orders,
        image_files=run.dataset.image_spec._asdict() if run.dataset.image_spec else None,
    )


def _select_and_measure(run: _Run, targets: np.ndarray, pool: _Encoded) -> list[dict]:
    """Stage 3 at every length: its result rows. Writes the selections and the pool."""
    fitted = run.config.reward.codes == "fitted"
    heldout = None if fitted else _heldout_codes(run, targets)
    env = _reward_environment(run, pool.train if fitted else heldout)
    selections = {bits: _selection(run, env, bits) for bits in run.config.bits}
    orders = {
        str(bits): {name: found["order"][0].tolist() for name, found in by_selector.items()}
        for bits, by_selector in selections.items()
    }
    _write_selections(run, env, selections)
    _write_pool(run, pool, targets, heldout, orders)
    rows = []
    for bits, by_selector in selections.items():
        for selector, found in by_selector.items():
            codes = [(pool.query[:, order], pool.database[:, order]) for order in found["order"]]
            rows.append(_row(run, selector, bits, env.pool_bits, float(found["seconds"]), codes))
    return rows


def _run_stages(run: _Run) -> list[dict]:
    """All stages of the configuration; returns the result rows."""
    config = run.config
    targets = _target_codes(run, config.pool_bits)
    if config.last_stage == "target_codes":
        save_codes(run.workdir.path / "codes/train_target", targets)
        return []
    pool = _mapping(run, targets)
    rows = [_encoder_row(run, pool)]
    if config.last_stage == "encoder":
        _write_pool(run, pool, targets, None, {})
    else:
        rows += _select_and_measure(run, targets, pool)
        if config.train_direct:
            lengths = [bits for bits in config.bits if bits != config.pool_bits]
            rows += [_encoder_row(run, _mapping(run, _target_codes(run, bits))) for bits in lengths]
    write_json(run.workdir.path / "metrics.json", {"definitions": result_rows.DEFINITIONS, "results": rows})
    return rows


def train_and_evaluate(
    config: ml_collections.ConfigDict, workdir: str, stop_requested: Callable[[], str | None] = lambda: None
) -> list[dict]:
    """Runs every stage of a configuration, or what an earlier call left undone.

    Args:
      config: see `config.default_config`.
      workdir: directory of the run; created if needed.
      stop_requested: asked between steps for the name of a signal to stop.

    Returns:
      The result rows of metrics.json; none if the last stage is target_codes.

    Raises:
      UserError: the configuration, the data or the directory cannot work.
      FloatingPointError: a loss stopped being finite.
      RunStoppedError: a stop was requested; what is done is saved.
    """
    loaded = _load(config)
    with runs.Workdir(workdir, _plain(config), stop_requested) as directory:
        _record(directory, loaded)
        parts = loaded.dataset, loaded.split, loaded.spec, loaded.pretrained, loaded.devices
        return _run_stages(_Run(config, directory, *parts))
