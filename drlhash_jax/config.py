"""The configuration of a run: assembled from the settings of every room, and turned into them once, at load.

Defaults, meanings and ranges stand where each room declares its `Settings`; here are only the fields of the run itself,
and the checks that look at several rooms. Files in `configs/` override. Behind `load`, nothing sees a ConfigDict.
"""

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from drlhash_jax.bit_selection import SELECTORS, USUAL_SELECTORS, PPOSettings, RewardSettings, SearchSettings
from drlhash_jax.codes import count_unlabelled
from drlhash_jax.data import SOURCES, DataSettings, ProtocolSettings
from drlhash_jax.encoders import ENCODERS, EncoderSettings, hashable_options
from drlhash_jax.errors import UserError
from drlhash_jax.methods import METHODS, Ingredients, Method, TrainingFacts
from drlhash_jax.parallel import WRAPPERS
from drlhash_jax.settings import Settings, near, setting, shown
from drlhash_jax.training import TrainingRows, TrainingSettings

LAST_STAGES = ("target_codes", "encoder", "selection")
# Of 8 random bits each; fewer can be guessed.
_LEAST_SECRET_BYTES = 16


@dataclasses.dataclass(frozen=True)
class RunSettings(Settings):
    """What a run does, whatever its data and its method."""

    seed: int = setting(0, "of the split and of everything random", least=0, most=2**32 - 1)
    method: str = setting("drlhash", "the hashing method, see drlhash_jax/methods", choices=tuple(METHODS))
    pool_bits: int = setting(64, "K, bits of the pool that selection chooses from", least=1, most=4_096)
    bits: tuple[int, ...] = setting((16, 32, 48), "p, lengths to select; each at most pool_bits")
    top_k: int | None = setting(
        None, "ranks that count in mAP@R; 0 for all", least=1, most=2**31 - 1, zero_is_none=True
    )
    last_stage: str = setting("selection", "where the run ends", choices=LAST_STAGES)
    parallel: str = setting("shard_map", "how a step runs on all devices", choices=WRAPPERS)
    checkpoint_seconds: float = setting(
        60.0, "between two saved states of a stage that is under way", least=0.0, most=1e9
    )
    train_direct: bool = setting(True, "also train an encoder at each length, to compare selection with")
    selectors: tuple[str, ...] = setting(USUAL_SELECTORS, "ways to choose bits")
    random_draws: int = setting(
        10, "subsets behind the mean and standard deviation of selector random", least=1, most=100_000
    )


@dataclasses.dataclass(frozen=True)
class DataSection(DataSettings, ProtocolSettings):
    """The data of a run: where they come from, how they are read, and how they are split."""

    source: str = setting(
        "digits", "dataset, or the layout of your own, see drlhash_jax/data/sources.py", choices=tuple(SOURCES)
    )
    frozen_codes: str = setting(
        "", "file .npz of codes that must stay: rows, numbers of dataset rows, and codes; for methods that keep codes"
    )


# Section of the configuration -> the settings that it holds; "" for the fields at the top.
SECTIONS: dict[str, type[Settings]] = {
    "": RunSettings,
    "data": DataSection,
    **{spec.section: spec.settings for spec in METHODS.values() if spec.section},
    "encoder": EncoderSettings,
    "training": TrainingSettings,
    "reward": RewardSettings,
    "ppo": PPOSettings,
    "search": SearchSettings,
}


class RunConfig(NamedTuple):
    """A configuration as typed settings.

    Attributes:
      run: RunSettings.
      data: DataSection.
      method: settings of the run's method.
      encoder: EncoderSettings.
      training: TrainingSettings.
      reward: RewardSettings.
      ppo: PPOSettings.
      search: SearchSettings.
    """

    run: RunSettings
    data: DataSection
    method: Settings
    encoder: EncoderSettings
    training: TrainingSettings
    reward: RewardSettings
    ppo: PPOSettings
    search: SearchSettings

    def make_method(self, num_bits: int) -> Method:
        """The run's method for codes of one length; equal settings give the same object."""
        encoder = ENCODERS[self.encoder.name].module(num_outputs=num_bits, **self.encoder.attributes)
        return METHODS[self.run.method].make(Ingredients(num_bits, encoder, self.training, self.method))

    @property
    def reward_codes(self) -> str:
        """Which codes the reward looks at, see `RewardSettings.choose_codes`."""
        method = self.make_method(self.run.pool_bits)
        fits_rows = any(phase.num_epochs for phase in method.phases)
        return self.reward.choose_codes(self.run.method, shared_bits=method.shared_bits, fits_rows=fits_rows)


def default_config() -> ml_collections.ConfigDict:
    """The configuration that the files in `configs/` start from."""
    values = RunSettings.config_defaults()
    for name, settings in SECTIONS.items():
        if name:
            values[name] = settings.config_defaults()
    # Pairs in the settings, a section of any names in a configuration.
    values["encoder"]["options"] = {}
    return ml_collections.ConfigDict(values)


def thesis_config() -> ml_collections.ConfigDict:
    """What the thesis says in 4.1, and what its two forerunners say where it is silent; `configs/thesis_*.py` add data.

    Of the pool of 64 bits the thesis selects shorter codes. It does not tell the number of epochs, the momentum, the
    weight decay and the augmentation: 150, .9, 5e-4, and random crops with mirror images are those of its field. Its
    learning rate 1.0 for stage 1 is not taken, since it saturates 64-bit codes. Stage 1 has its loss for rows with
    several labels too.
    """
    config = default_config()
    config.train_direct = False
    config.target_codes.loss = "similarity"
    training = config.training
    training.num_epochs = 150
    training.batch_size = 32
    training.optimizer = "momentum"
    training.learning_rate = 1e-5
    training.head_learning_rate = 1e-4
    training.weight_decay = 5e-4
    config.reward.num_folds = 2
    config.reward.num_queries = 1000
    config.ppo.discount = 0.99
    config.ppo.hidden = (256, 256)
    return config


def plain_config(config: Mapping[str, Any] | ml_collections.ConfigDict) -> dict[str, Any]:
    """The configuration as a nested dictionary."""
    plain = lambda value: plain_config(value) if isinstance(value, ml_collections.ConfigDict) else value
    return {key: plain(value) for key, value in config.items()}


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries with some fields replaced."""
    found = copy.deepcopy(dict(values))
    for name, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(found.get(name), Mapping)
        found[name] = merged(found[name], value) if nested else copy.deepcopy(value)
    return found


def load(config: Mapping[str, Any] | ml_collections.ConfigDict) -> RunConfig:
    """Typed settings of a configuration; the only reader of one.

    Args:
      config: see `default_config`; or the same as nested dictionaries.

    Returns:
      RunConfig.

    Raises:
      UserError: a field is out of its range, or fields do not fit together; the message names the field, its value and
        what would be right.
    """
    values = plain_config(config)
    # Configurations of older runs and models do not have the sections of newer methods and searches.
    newer = {spec.section for spec in METHODS.values()} - {""} | {"search"}
    if missing := [name for name in SECTIONS if name and name not in newer and name not in values]:
        other = [command for command in ("compare", "ablate") if command in values]
        hint = f"it is one of the command {other[0]}" if other else "start from config.default_config()"
        raise UserError(f"the configuration has no section {missing[0]}: {hint}")
    values["encoder"] = values["encoder"] | {"options": hashable_options(values["encoder"]["options"])}
    found = {}
    for name, settings in SECTIONS.items():
        given = values if not name else values.get(name, {}) if name in newer else values[name]
        found[name] = settings.from_config(given, f"{name}." if name else "")
    run = found[""]
    method = found.get(METHODS[run.method].section, Settings())
    parts = (found[name] for name in ("encoder", "training", "reward", "ppo", "search"))
    loaded = RunConfig(run, found["data"], method, *parts)
    _check_together(loaded)
    return loaded


def read_secret(config: RunConfig) -> RunConfig:
    """The same settings with the content of the method's `secret_file`, if it names one.

    Apart from `load`, since a saved model is loaded without its key. Nothing may write or show what is read here.

    Raises:
      UserError: the file cannot be read, or holds no key.
    """
    path = getattr(config.method, "secret_file", "")
    if not path:
        return config
    name = f"{METHODS[config.run.method].section}.secret_file={path}"
    try:
        # A device such as /dev/urandom never ends, and is another one whenever it is read.
        secret = Path(path).read_bytes() if Path(path).is_file() else None
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror or error}") from error
    if secret is None:
        raise UserError(f"{name} is not a file")
    if len(secret) < _LEAST_SECRET_BYTES:
        raise UserError(f"{name} holds {len(secret)} bytes: a key has at least {_LEAST_SECRET_BYTES} random ones")
    return config._replace(method=config.method.with_secret(secret))


def _check_together(config: RunConfig) -> None:
    """Refuses settings that do not fit each other."""
    run = config.run
    _check_lengths(run)
    for selector in run.selectors:
        if selector not in SELECTORS:
            raise UserError(
                f"selectors={selector}: choose one of {', '.join(SELECTORS)}{near(selector, tuple(SELECTORS))}"
            )
    if len(set(run.selectors)) < len(run.selectors):
        raise UserError(f"selectors={','.join(run.selectors)}: each selector once")
    names = [phase.name for phase in config.make_method(run.pool_bits).phases]
    if run.last_stage == "target_codes" and "target_codes" not in names:
        raise UserError(f"last_stage=target_codes: method={run.method} has no such stage; use encoder or selection")
    if config.data.frozen_codes:
        _check_frozen(config)
    # Refuses codes that the method cannot have.
    _ = config.reward_codes
    for width in config.ppo.hidden:
        if isinstance(width, bool) or not isinstance(width, int) or width < 1:
            raise UserError(f"ppo.hidden={shown(width)}: a width of a layer is an integer from 1")
    steps = config.ppo.num_envs * min(run.bits)
    if steps < config.ppo.num_minibatches:
        raise UserError(f"ppo.num_minibatches={config.ppo.num_minibatches}: an update has only {steps} steps")


def _check_frozen(config: RunConfig) -> None:
    """Refuses codes that must stay where the method, or another length, cannot keep them."""
    run, where = config.run, f"data.frozen_codes={shown(config.data.frozen_codes)}"
    if not METHODS[run.method].keeps_codes:
        keeping = ", ".join(name for name, spec in METHODS.items() if spec.keeps_codes)
        raise UserError(f"{where}: method={run.method} cannot keep codes that exist; use one of {keeping}")
    if run.last_stage == "selection" and run.train_direct and set(run.bits) != {run.pool_bits}:
        raise UserError(f"{where}: they have one length, and train_direct makes others: set train_direct=False")


def _check_lengths(run: RunSettings) -> None:
    if not run.bits:
        raise UserError("bits is empty: give the code lengths to select, e.g. --config.bits=16,32")
    for bits in run.bits:
        if isinstance(bits, bool) or not isinstance(bits, int) or not 0 < bits <= run.pool_bits:
            raise UserError(
                f"bits={shown(bits)}: a selected length must be an integer from 1 to pool_bits={run.pool_bits}"
            )
    if len(set(run.bits)) < len(run.bits):
        raise UserError(f"bits={','.join(map(str, run.bits))}: each length once")


def check_against_devices(config: RunConfig, num_devices: int) -> None:
    """Refuses settings whose work cannot be divided equally among the devices.

    Raises:
      UserError: names the field, its value and what would be right.
    """
    run, batch_size = config.run, config.training.batch_size
    if run.last_stage != "target_codes" and METHODS[run.method].trains_encoder and batch_size % num_devices:
        raise UserError(f"training.batch_size={batch_size}: must be a multiple of {num_devices} devices")
    if run.last_stage != "selection" or not any(SELECTORS[name].num_steps for name in run.selectors):
        return
    num_envs, num_minibatches = config.ppo.num_envs, config.ppo.num_minibatches
    if num_envs % num_devices:
        raise UserError(f"ppo.num_envs={num_envs}: must be a multiple of {num_devices} devices")
    for bits in run.bits:
        steps = bits * num_envs // num_minibatches
        if steps % num_devices:
            raise UserError(
                f"ppo.num_minibatches={num_minibatches}: at bits={bits} a minibatch has {steps} steps, which must be "
                f"a multiple of {num_devices} devices"
            )


def check_against_data(config: RunConfig, inputs: Any, num_train: int, from_files: bool = False) -> None:
    """Refuses settings that do not fit the loaded data.

    Args:
      config: RunConfig.
      inputs: the dataset's inputs, or None if it has labels only.
      num_train: number of training rows.
      from_files: whether inputs are image files that were decoded at data.image_size.

    Raises:
      UserError: names the field, its value and what would be right.
    """
    if config.run.last_stage == "target_codes":
        return
    if inputs is None:
        raise UserError(f"data.source={config.data.source} has labels only: set last_stage=target_codes")
    if METHODS[config.run.method].trains_encoder:
        _check_encoder(config.encoder, inputs)
    _check_sizes(config.encoder, inputs, from_files)
    if config.run.last_stage == "selection":
        _check_reward(config, num_train)


def check_against_rows(config: RunConfig, rows: TrainingRows) -> None:
    """Refuses training rows that the method cannot learn from.

    Args:
      config: RunConfig.
      rows: TrainingRows.

    Raises:
      UserError: says what does not fit and what would.
    """
    run = config.run
    if run.last_stage == "target_codes":
        return
    spec = METHODS[run.method]
    if spec.learns_labels:
        _check_labels(run.method, rows)
    direct = run.bits if run.last_stage == "selection" and run.train_direct else ()
    for num_bits in (run.pool_bits, *direct):
        sizes = rows.inputs.shape[1:], len(rows.labels), rows.num_classes, rows.labels.ndim == 2
        misfit = spec.misfit(config.method, TrainingFacts(num_bits, rows.spec.kind, *sizes))
        if misfit:
            raise UserError(f"method={run.method}: {misfit}")


def _check_labels(method: str, rows: TrainingRows) -> None:
    """Refuses labels that tell nothing, and rows without a label where the method cannot use them."""
    others = ", ".join(name for name, spec in METHODS.items() if not spec.learns_labels)
    accepting = ", ".join(name for name, spec in METHODS.items() if spec.learns_labels and spec.accepts_unlabelled)
    num_rows, num_unlabelled = len(rows.labels), count_unlabelled(rows.labels)
    num_classes = 0 if num_unlabelled == num_rows else rows.num_classes
    if num_classes < 2:
        raise UserError(
            f"method={method} learns from labels, and the training rows have {num_classes} class(es): give rows of two "
            f"classes or more, or use a method that needs no labels ({others})"
        )
    if num_unlabelled and not METHODS[method].accepts_unlabelled:
        raise UserError(
            f"method={method}: {num_unlabelled} of {num_rows} training rows have no label: leave them out, "
            f"or use a method that accepts them ({accepting}) or needs no labels ({others})"
        )


def _check_reward(config: RunConfig, num_train: int) -> None:
    """Refuses a reward that would look at more rows than there are."""
    reward = config.reward
    if config.reward_codes == "holdout":
        held_out = num_held_out(reward, num_train)
        if held_out < 2 or held_out == num_train:
            raise UserError(f"reward.holdout={reward.holdout}: that is {held_out} of {num_train} training rows")
        return
    if config.reward_codes == "crossfit" and reward.num_folds > num_train:
        raise UserError(f"reward.num_folds={reward.num_folds}: there are {num_train} training rows")
    if reward.num_queries >= num_train:
        raise UserError(f"reward.num_queries={reward.num_queries}: must be below the {num_train} training rows")


def num_held_out(reward: RewardSettings, num_train: int) -> int:
    """Training rows that are kept from all training for reward.codes=holdout."""
    return round(reward.holdout * num_train)


def _check_encoder(settings: EncoderSettings, inputs: Any) -> None:
    """Refuses inputs that an encoder cannot read: uint8 ``[N, H, W, channels]`` or float ``[N, D]``."""
    kind = "images" if len(inputs.shape) == 4 else "features"
    encoder = ENCODERS[settings.name]
    if encoder.reads != kind:
        fitting = ", ".join(name for name, other in ENCODERS.items() if other.reads == kind)
        raise UserError(f"encoder.name={settings.name} reads {encoder.reads}, the data are {kind}: use {fitting}")
    if not encoder.colour:
        return
    if inputs.shape[-1] != 3:
        raise UserError(f"encoder.name={settings.name} reads colour images, these have {inputs.shape[-1]} channel")
    side, wanted = settings.crop_size or settings.image_size, encoder.image_size
    size = (side, side) if side else inputs.shape[1:3]
    if wanted and tuple(size) != (wanted, wanted):
        raise UserError(
            f"encoder.name={settings.name} reads colour images of {wanted} pixels: "
            f"set encoder.image_size={wanted}, or encoder.crop_size={wanted} of larger ones (is {size[0]} x {size[1]})"
        )


def _check_sizes(settings: EncoderSettings, inputs: Any, from_files: bool) -> None:
    """Refuses sizes that the images do not have."""
    if len(inputs.shape) != 4:
        return
    side = settings.image_size or min(inputs.shape[1:3])
    if settings.crop_size is not None and settings.crop_size > side:
        raise UserError(f"encoder.crop_size={settings.crop_size}: the images have {side} pixels a side")
    if from_files and settings.image_size not in (None, inputs.shape[1]):
        raise UserError(
            f"encoder.image_size={settings.image_size}: image files are resized once, by "
            f"data.image_size={inputs.shape[1]}; set that, and encoder.image_size=0"
        )
