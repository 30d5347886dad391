"""Every field of a run in one place: its default, its meaning, its range. Files in `configs/` override."""

import difflib

import ml_collections

from drlhash_jax.data import CONFIGURED, PROTOCOLS, SOURCES
from drlhash_jax.encoders import COLOUR_SIZES, COMPUTE_DTYPES, ENCODERS, INPUT_KINDS, PUBLISHED_LAYERS
from drlhash_jax.errors import UserError
from drlhash_jax.parallel import WRAPPERS
from drlhash_jax.target_codes import PATHS
from drlhash_jax.training import OPTIMIZERS

LAST_STAGES = ("target_codes", "encoder", "selection")
SELECTORS = ("ppo", "greedy", "entropy", "random", "first", "best_of_random")
REWARD_CODES = ("crossfit", "fitted")


def default_config() -> ml_collections.ConfigDict:
    """The configuration that the files in `configs/` start from."""
    config = ml_collections.ConfigDict()
    config.seed = 0  # of the split and of everything random
    config.pool_bits = 64  # K, bits of the pool that selection chooses from
    config.bits = (16, 32, 48)  # p, lengths to select; each at most pool_bits
    config.top_k = 0  # ranks that count in mAP@R; 0 for all
    config.last_stage = "selection"  # target_codes, mapping or selection
    config.parallel = "shard_map"  # how a step runs on all devices: shard_map, or pmap
    config.checkpoint_seconds = 60.0  # between two saved states of a stage that is under way
    config.train_direct = True  # also train an encoder at each length, to compare selection with

    config.data = data = ml_collections.ConfigDict()
    data.source = "digits"  # see drlhash_jax/data/sources.py
    data.path = ""  # file or folder to read, for sources that are yours to bring; FILE:KEY for embeddings
    data.labels_path = ""  # file of labels, for source embeddings
    data.image_size = 224  # side in pixels that image files are decoded to: central square, antialiased bilinear
    data.cache = ""  # .npy file that keeps decoded images on disk; "" for memory, up to 4 GiB
    data.num_workers = 0  # processes that decode images; 0 decodes in the main process
    data.max_skipped = 0.05  # share of image files that may be missing or broken; they are listed in skipped.jsonl
    data.protocol = "balanced"  # see drlhash_jax/data/protocols.py
    data.query = 20  # query rows (a class, a concept) for protocols balanced, concepts and random
    data.train = 50  # training rows, likewise
    data.train_in_database = False  # whether training rows are also searched, likewise

    config.target_codes = codes = ml_collections.ConfigDict()
    codes.num_epochs = 600  # gradient steps
    codes.learning_rate = 0.1  # of Adam; the thesis's 1.0 saturates at 64 bits
    codes.quantisation_weight = 0.1  # final weight of || |Z| - 1 ||^2, ramped from 0
    codes.init_scale = 0.1  # standard deviation of the latent start
    codes.path = "auto"  # exact, blockwise, or auto for the cheaper
    codes.block_height = 500  # h, rows of a block of S
    codes.block_width = 500  # w, columns of a block of S

    config.encoder = encoder = ml_collections.ConfigDict()
    encoder.name = "compact"  # alexnet, compact, efficientnet_lite0, mlp, vgg19 or vgg19_bn
    encoder.weights = ""  # file of published weights to start from, or imagenet for those that come as a package
    encoder.compute_dtype = "float32"  # of activations, or bfloat16; parameters and logits are float32
    encoder.options = ml_collections.ConfigDict()  # attributes of the encoder's class, e.g. hidden of mlp
    encoder.image_size = 0  # side that images are resized to; 0 leaves them as they are
    encoder.crop_size = 0  # side of the part that the encoder sees after that: the centre, or see max_shift; 0 for all

    config.training = mapping = ml_collections.ConfigDict()
    mapping.num_epochs = 100
    mapping.batch_size = 32  # rows a step, on all devices together
    mapping.optimizer = "momentum"  # sgd, momentum or adam
    mapping.learning_rate = 1e-5  # of every layer but the last
    mapping.head_learning_rate = 1e-4  # of the last layer
    mapping.momentum = 0.9
    mapping.weight_decay = 0.0
    mapping.schedule = "constant"  # or cosine, to zero
    mapping.max_shift = -1  # pixels off the centre of random views, which are also mirrored; -1 for no augmentation

    config.selectors = SELECTORS  # any of them
    config.random_draws = 10  # subsets behind the mean and standard deviation of selector random

    config.reward = reward = ml_collections.ConfigDict()
    reward.codes = "crossfit"  # codes of rows that their encoder did not fit; fitted is the ablation, and saturates
    reward.num_folds = 5  # encoders fitted for crossfit
    reward.num_queries = 200  # training rows that act as queries; the others act as the database
    reward.num_database = 0  # limit to the database rows; 0 for all others

    config.ppo = ppo = ml_collections.ConfigDict()
    ppo.num_updates = 188  # an update costs num_envs + 1 rewards: 3,196 in all
    ppo.num_envs = 16  # episodes an update
    ppo.num_epochs = 8  # passes over the episodes
    ppo.num_minibatches = 4
    ppo.learning_rate = 1e-3  # of Adam, falling linearly to 0
    ppo.clip_epsilon = 0.2
    ppo.discount = 1.0
    ppo.gae_lambda = 0.9
    ppo.entropy_cost = 0.05  # falls linearly to 0: explore first, settle later
    ppo.value_cost = 0.5
    ppo.target_kl = 0.1
    ppo.max_gradient_norm = 0.5
    return config


def thesis_config() -> ml_collections.ConfigDict:
    """What the thesis says in 4.1, and what its two forerunners say where it is silent; `configs/thesis_*.py` add data.

    Of the pool of 64 bits the thesis selects shorter codes. It does not tell the number of epochs, the momentum, the
    weight decay and the augmentation: 150, .9, 5e-4, and random crops with mirror images are those of its field. Its
    learning rate 1.0 for stage 1 is not taken, since it saturates 64-bit codes.
    """
    config = default_config()
    config.train_direct = False
    training = config.training
    mapping.num_epochs = 150
    mapping.batch_size = 32
    mapping.optimizer = "momentum"
    mapping.learning_rate = 1e-5
    mapping.head_learning_rate = 1e-4
    mapping.weight_decay = 5e-4
    config.reward.num_folds = 2
    config.reward.num_queries = 1000
    config.ppo.discount = 0.99
    return config


def _choose(field: str, value: str, choices) -> None:
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(f"{field}={value}: choose one of {', '.join(choices)}{hint}")


def _at_least(config: ml_collections.ConfigDict, field: str, least: float) -> None:
    value = config
    for part in field.split("."):
        value = value[part]
    if not value >= least:
        raise UserError(f"{field}={value}: must be at least {least}")


def check_config(config: ml_collections.ConfigDict) -> None:
    """Refuses settings that cannot work, before anything is computed.

    Raises:
      UserError: names the field, its value and what would be right.
    """
    _choose("data.source", config.data.source, SOURCES)
    _choose("data.protocol", config.data.protocol, (*PROTOCOLS, *CONFIGURED))
    _choose("parallel", config.parallel, WRAPPERS)
    _choose("last_stage", config.last_stage, LAST_STAGES)
    _choose("target_codes.path", config.target_codes.path, PATHS)
    _choose("encoder.name", config.encoder.name, ENCODERS)
    _choose("encoder.compute_dtype", config.encoder.compute_dtype, COMPUTE_DTYPES)
    if config.encoder.weights and config.encoder.name not in PUBLISHED_LAYERS:
        raise UserError(
            f"encoder.weights={config.encoder.weights}: there are no published weights of {config.encoder.name}; "
            f"use {', '.join(PUBLISHED_LAYERS)}"
        )
    _choose("mapping.optimizer", config.training.optimizer, OPTIMIZERS)
    _choose("mapping.schedule", config.training.schedule, ("constant", "cosine"))
    _choose("reward.codes", config.reward.codes, REWARD_CODES)
    for selector in config.selectors:
        _choose("selectors", selector, SELECTORS)
    known = set(ENCODERS[config.encoder.name].__dataclass_fields__) - {"parent", "name", "num_outputs", "compute_dtype"}
    for option in config.encoder.options:
        _choose(f"encoder.options of {config.encoder.name}", option, sorted(known))
    if config.data.cache and not config.data.cache.endswith(".npy"):
        raise UserError(f"data.cache={config.data.cache}: the name must end in .npy")
    for field in (
        *("pool_bits", "random_draws", "data.query", "data.train", "data.image_size", "reward.num_queries"),
        *("target_codes.num_epochs", "target_codes.block_height", "target_codes.block_width"),
        *("mapping.num_epochs", "mapping.batch_size"),
        *("ppo.num_updates", "ppo.num_envs", "ppo.num_epochs", "ppo.num_minibatches"),
    ):
        _at_least(config, field, 1)
    for field in (
        "checkpoint_seconds",
        "data.num_workers",
        "data.max_skipped",
        "top_k",
        "reward.num_database",
        "encoder.image_size",
        "encoder.crop_size",
        "mapping.learning_rate",
        "seed",
    ):
        _at_least(config, field, 0)
    _at_least(config, "reward.num_folds", 2)
    if not config.bits:
        raise UserError("bits is empty: give the code lengths to select, e.g. --config.bits=16,32")
    for bits in config.bits:
        if not isinstance(bits, int) or not 0 < bits <= config.pool_bits:
            raise UserError(f"bits={bits}: a selected length must be an integer from 1 to pool_bits={config.pool_bits}")
    if len(set(config.bits)) < len(config.bits):
        raise UserError(f"bits={','.join(map(str, config.bits))}: each length once")
    steps = config.ppo.num_envs * min(config.bits)
    if steps < config.ppo.num_minibatches:
        raise UserError(f"ppo.num_minibatches={config.ppo.num_minibatches}: an update has only {steps} steps")


def _check_colour_images(encoder: ml_collections.ConfigDict, inputs) -> None:
    """Refuses images that an encoder of colour images cannot read; inputs are uint8 ``[N, H, W, channels]``."""
    if inputs.shape[-1] != 3:
        raise UserError(f"encoder.name={encoder.name} reads colour images, these have {inputs.shape[-1]} channel")
    wanted = COLOUR_SIZES[encoder.name]
    side = encoder.crop_size or encoder.image_size
    size = (side, side) if side else inputs.shape[1:3]
    if wanted and size != (wanted, wanted):
        raise UserError(
            f"encoder.name={encoder.name} reads colour images of {wanted} pixels: "
            f"set encoder.image_size={wanted}, or encoder.crop_size={wanted} of larger ones (is {size[0]} x {size[1]})"
        )


def check_against_devices(config: ml_collections.ConfigDict, num_devices: int) -> None:
    """Refuses settings whose work cannot be divided equally among the devices.

    Raises:
      UserError: names the field, its value and what would be right.
    """
    if config.last_stage != "target_codes" and config.training.batch_size % num_devices:
        raise UserError(f"mapping.batch_size={config.training.batch_size}: must be a multiple of {num_devices} devices")
    if config.last_stage != "selection" or "ppo" not in config.selectors:
        return
    num_envs, num_minibatches = config.ppo.num_envs, config.ppo.num_minibatches
    if num_envs % num_devices:
        raise UserError(f"ppo.num_envs={num_envs}: must be a multiple of {num_devices} devices")
    for bits in config.bits:
        steps = bits * num_envs // num_minibatches
        if steps % num_devices:
            raise UserError(
                f"ppo.num_minibatches={num_minibatches}: at bits={bits} a minibatch has {steps} steps, which must be "
                f"a multiple of {num_devices} devices"
            )


def check_against_data(config: ml_collections.ConfigDict, inputs, num_train: int, from_files: bool = False) -> None:
    """Refuses settings that do not fit the loaded data.

    Args:
      config: the configuration.
      inputs: the dataset's inputs, or None if it has labels only.
      num_train: number of training rows.
      from_files: whether inputs are image files that were decoded at data.image_size.

    Raises:
      UserError: names the field, its value and what would be right.
    """
    if config.last_stage == "target_codes":
        return
    if inputs is None:
        raise UserError(f"data.source={config.data.source} has labels only: set last_stage=target_codes")
    kind = "images" if inputs.ndim == 4 else "features"
    name = config.encoder.name
    if INPUT_KINDS[name] != kind:
        fitting = [other for other, wanted in INPUT_KINDS.items() if wanted == kind]
        raise UserError(f"encoder.name={name} reads {INPUT_KINDS[name]}, the data are {kind}: use {', '.join(fitting)}")
    side = config.encoder.image_size or (min(inputs.shape[1:3]) if kind == "images" else 0)
    if config.encoder.crop_size > side:
        raise UserError(f"encoder.crop_size={config.encoder.crop_size}: the images have {side} pixels a side")
    if name in COLOUR_SIZES:
        _check_colour_images(config.encoder, inputs)
    if from_files and config.encoder.image_size not in (0, inputs.shape[1]):
        raise UserError(
            f"encoder.image_size={config.encoder.image_size}: image files are resized once, by "
            f"data.image_size={inputs.shape[1]}; set that, and encoder.image_size=0"
        )
    if config.last_stage == "selection":
        if config.reward.num_queries >= num_train:
            raise UserError(
                f"reward.num_queries={config.reward.num_queries}: must be below the {num_train} training rows"
            )
        if config.reward.codes == "crossfit" and config.reward.num_folds > num_train:
            raise UserError(f"reward.num_folds={config.reward.num_folds}: there are {num_train} training rows")
