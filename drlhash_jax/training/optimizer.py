"""Optimisers with one learning rate for the trunk and one for the head (thesis 4.1: 1e-5, last layer 1e-4)."""

import jax
import optax

OPTIMIZERS = ("sgd", "momentum", "adam")
SCHEDULES = ("constant", "cosine")


def _group_of(path: tuple, _) -> str:
    return "head" if path[0].key.startswith("head") else "trunk"


def make_optimizer(
    name: str,
    learning_rate: float,
    head_learning_rate: float,
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    schedule: str = "constant",
    num_steps: int = 1,
) -> optax.GradientTransformation:
    """Builds the optimiser of stage 2.

    Args:
      name: "sgd", "momentum" (Nesterov off), or "adam".
      learning_rate: of every layer but the head; 0 leaves them as they are, and saves their backward pass.
      head_learning_rate: of the layers whose names start with "head": the last one of every encoder, and what a method
        puts on top of it.
      momentum: of "momentum".
      weight_decay: L2 penalty added to the gradient of kernels for sgd and momentum, decoupled for adam.
      schedule: "constant", or "cosine" to zero over num_steps.
      num_steps: length of the schedule.

    Returns:
      An optax transformation over ``{layer: {...}}`` parameters.

    Raises:
      ValueError: unknown name or schedule.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer={name!r}: choose one of {', '.join(OPTIMIZERS)}")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule={schedule!r}: choose constant or cosine")
    kernels = lambda params: jax.tree.map(lambda x: x.ndim > 1, params)

    def group(rate: float) -> optax.GradientTransformation:
        if rate == 0:
            # Nothing reads these gradients, so that the compiler leaves their computation out.
            return optax.set_to_zero()
        if schedule == "cosine":
            rate = optax.cosine_decay_schedule(rate, num_steps)
        if name == "adam":
            return optax.adamw(rate, weight_decay=weight_decay, mask=kernels)
        decay = optax.add_decayed_weights(weight_decay, mask=kernels)
        return optax.chain(decay, optax.sgd(rate, momentum=momentum if name == "momentum" else None))

    groups = {"trunk": group(learning_rate), "head": group(head_learning_rate)}
    return optax.multi_transform(groups, lambda params: jax.tree_util.tree_map_with_path(_group_of, params))
