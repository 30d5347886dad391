"""Settings of training an encoder, whatever the method."""

import dataclasses

from drlhash_jax.settings import Settings, setting
from drlhash_jax.training.optimizer import OPTIMIZERS, SCHEDULES


@dataclasses.dataclass(frozen=True)
class TrainingSettings(Settings):
    """Settings of training an encoder; see `make_optimizer` for the optimiser's."""

    num_epochs: int = setting(100, "passes over the training rows", least=1, most=1_000_000)
    batch_size: int = setting(32, "rows per step, on all devices together", least=1, most=1_000_000)
    optimizer: str = setting("momentum", "sgd, momentum or adam", choices=OPTIMIZERS)
    learning_rate: float = setting(1e-5, "of every layer but the last; 0 leaves them as they are", least=0.0, most=1e6)
    head_learning_rate: float = setting(1e-4, "of the last layer", least=0.0, most=1e6)
    momentum: float = setting(0.9, "of momentum", least=0.0, most=1.0)
    weight_decay: float = setting(0.0, "L2 penalty of kernels, decoupled for adam", least=0.0, most=1e3)
    schedule: str = setting("constant", "constant, or cosine to zero", choices=SCHEDULES)
    max_shift: int = setting(
        -1, "pixels off the centre of random views, which are also mirrored; -1 for no augmentation", least=-1, most=512
    )
    resident_mib: int = setting(
        1024,
        "training inputs up to this size stay on every device; larger ones are read in batches",
        least=0,
        most=2**24,
    )
