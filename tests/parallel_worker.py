"""Every stage's raw results on this process's devices, as one body in one compiled program; run by the tests.

    python parallel_worker.py OUT.npz PROGRAMS [COORDINATOR NUM_PROCESSES PROCESS_ID]

PROGRAMS is a list, divided by commas, of WRAPPER:BODY. WRAPPER is shard_map, pmap, or jit for the plain one-device
program; BODY is one of `BODIES`.
"""

import functools
import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from trainings import code_batch, code_state, encoder_phase

from drlhash_jax import codes as codes_room
from drlhash_jax import encoders, parallel, retrieval, target_codes, training
from drlhash_jax.bit_selection import EnvParams, PPOSettings, init_state, learning, ppo
from drlhash_jax.bit_selection.actor_critic import ActorCritic
from drlhash_jax.training import gradient as gradient_room
from drlhash_jax.training.augment import random_views
from drlhash_jax.training.feeds import Resident
from drlhash_jax.training.run_phase import Sizes, take_steps

NUM_ROWS, NUM_BITS, NUM_CLASSES = 101, 6, 5  # 101 rows leave filling on 2 and on 4 devices
NUM_SELECTED = 3
SETTINGS = PPOSettings(num_updates=4, num_envs=8, num_epochs=2, num_minibatches=2, target_kl=1e9, population=3)
NETWORK = ActorCritic(NUM_BITS, SETTINGS.hidden)
SGD = training.TrainingSettings(optimizer="sgd", learning_rate=0.5, head_learning_rate=0.5)
ENCODER = encoders.make_encoder("mlp", NUM_BITS, hidden=(8,))


def code_loss(logits, batch, extra, axis_name):
    """Stage 2's loss."""
    return training.binary_cross_entropy(logits, extra["codes"][batch.rows], batch.weights, axis_name)


def make_arrays():
    """What every process and every number of devices starts from."""
    rng = np.random.default_rng(0)
    labels = np.arange(NUM_ROWS) % NUM_CLASSES
    codes = (rng.integers(0, 2, (NUM_CLASSES, NUM_BITS))[labels] ^ (rng.random((NUM_ROWS, NUM_BITS)) < 0.2)).astype(
        np.uint8
    )
    inputs = rng.normal(size=(NUM_ROWS, 7)).astype(np.float32)
    images = rng.normal(size=(16, 8, 8, 1)).astype(np.float32)
    env = EnvParams(
        codes_room.pack_distinct(codes[:21], labels[:21]), codes_room.pack_distinct(codes[21:], labels[21:]), NUM_BITS
    )
    params = ENCODER.init(jax.random.key(1), inputs[:1])["params"]
    ppo_state = init_state(jax.random.key(2), env, NUM_SELECTED, SETTINGS)
    latent = rng.normal(size=(NUM_ROWS, NUM_BITS)).astype(np.float32)
    return {
        "env": env,
        "params": params,
        "ppo_state": ppo_state,
        "codes": codes,
        "labels": labels.astype(np.int32),
        "inputs": inputs,
        "images": images,
        "latent": latent,
    }


def stage_1(arrays, axis_name):
    """Value and gradient of both paths, with the quantisation term, and of the likelihood."""
    filling = -NUM_ROWS % parallel.num_shards(axis_name)
    sets = jnp.eye(NUM_CLASSES)
    multi_hot = jnp.pad(sets[arrays["labels"]], ((0, filling), (0, 0)))
    members = jnp.pad(arrays["labels"], (0, filling), constant_values=NUM_CLASSES)
    latent = jnp.pad(arrays["latent"], ((0, filling), (0, 0)))
    latent, members, multi_hot = parallel.local_rows((latent, members, multi_hot), axis_name)
    shared = {"num_rows": NUM_ROWS, "axis_name": axis_name}
    losses = {
        "exact disjoint": lambda z: target_codes.exact_similarity_loss(z, members, sets, disjoint=True, **shared),
        "exact": lambda z: target_codes.exact_similarity_loss(z, members, sets, disjoint=False, **shared),
        "blockwise": lambda z: target_codes.blockwise_similarity_loss(z, multi_hot, height=16, width=30, **shared),
        "quantisation": lambda z: target_codes.quantisation_loss(z, **shared),
    }
    out = {}
    for name, loss in losses.items():
        value, gradient = jax.value_and_grad(lambda v, loss=loss: loss(jnp.tanh(v)))(latent)
        out[f"stage 1 {name} loss"] = value
        out[f"stage 1 {name} gradient"] = parallel.gather_rows(gradient, axis_name)[:NUM_ROWS]
    return out | likelihood(arrays, sets, axis_name)


def likelihood(arrays, sets, axis_name):
    """Value and gradient of a random block whose 15 rows leave filling on 2 and on 4 devices."""
    settings = target_codes.TargetCodeSettings(block_height=15, block_width=30)
    data = target_codes.LabelData(arrays["labels"], sets, "likelihood", True, NUM_ROWS)
    v, weight = arrays["latent"][:NUM_CLASSES], jnp.float32(0.1)
    value, gradient = target_codes.likelihood_and_gradient(jax.random.key(12), v, weight, data, settings, axis_name)
    return {"stage 1 likelihood loss": value, "stage 1 likelihood gradient": gradient}


def stage_2(arrays, axis_name):
    """Raw gradient of a batch with filling, one step of SGD, and the views of a batch of images."""
    weights = (jnp.arange(16) < 13).astype(jnp.float32)
    batch, extra = code_batch(arrays["inputs"][:16], arrays["codes"], weights)
    batch = parallel.local_rows(batch._replace(labels=jnp.zeros((16, 1)), rows=jnp.arange(16)), axis_name)
    loss, gradient, _ = gradient_room.loss_and_gradient(
        arrays["params"], batch, extra, jax.random.key(3), encoder=ENCODER, loss=code_loss, axis_name=axis_name
    )
    state = code_state(arrays["params"], gradient_room._optimizer(SGD, 1), extra)
    phase = encoder_phase(ENCODER, SGD)
    stepped, _ = phase.step(state, batch, jax.random.key(3), num_steps=1, axis_name=axis_name)
    shares = parallel.local_rows((jnp.arange(16), arrays["images"]), axis_name)
    views = random_views(jax.random.key(4), *shares, max_shift=1)
    return {
        "stage 2 loss": loss,
        "stage 2 gradient": gradient,
        "stage 2 step": stepped.params,
        "stage 2 views": parallel.gather_rows(views, axis_name),
    }


def pairs(arrays, axis_name):
    """A loss over the pairs of a batch that devices share: value and raw gradient by `gather_rows`."""
    x = jnp.asarray(arrays["inputs"][:16])
    same = (arrays["labels"][:16, None] == arrays["labels"][:16]).astype(jnp.float32)
    weight = jax.random.normal(jax.random.key(11), (7, 3))

    def share_of_loss(weight, rows, same):
        z = jnp.tanh(rows @ weight)
        everyone = parallel.gather_rows(z, axis_name)
        return jnp.sum((z @ everyone.T - same) ** 2) / 256.0

    rows, same = parallel.local_rows((x, same), axis_name)
    value, gradient = jax.value_and_grad(share_of_loss)(parallel.vary(weight, axis_name), rows, same)
    value, gradient = parallel.total((value, gradient), axis_name)
    return {"pairs loss": value, "pairs gradient": gradient}


def images(arrays, *, axis_name):
    """An epoch of a convolutional encoder with augmentation: much for XLA to fuse, and so to round differently."""
    encoder = encoders.make_encoder("compact", NUM_BITS, width=8)
    params = encoder.init(jax.random.key(8), arrays["images"])["params"]
    settings = training.TrainingSettings(
        num_epochs=1, batch_size=8, optimizer="adam", learning_rate=0.01, head_learning_rate=0.01, max_shift=1
    )
    phase = encoder_phase(encoder, settings)
    state = code_state(params, gradient_room._optimizer(settings, 2), {"codes": arrays["codes"]})
    feed = Resident(arrays["images"], jnp.zeros(16, jnp.int32), jnp.arange(16))
    spec = encoders.InputSpec(jnp.zeros(1), jnp.ones(1), "images")
    sizes = Sizes(batch_size=8, num_batches=2, num_steps=2, chunk=2, in_loop=True, num_classes=1)
    fixed = jnp.asarray(2), jax.random.key(9), feed, spec
    state, metrics = take_steps(state, {"loss": jnp.zeros(2)}, *fixed, phase=phase, sizes=sizes, axis_name=axis_name)
    return {"images losses": metrics["loss"], "images params": state.params}


def stage_3(arrays, axis_name):
    """Episodes, raw gradient of a minibatch, a step of SGD on it, and a whole update."""
    env, state = arrays["env"], arrays["ppo_state"]
    episodes = ppo.rollout(jax.random.key(5), NETWORK, state.params, env, NUM_SELECTED, SETTINGS.num_envs, axis_name)
    advantages, returns = ppo.advantages_and_returns(episodes, episodes.rewards, SETTINGS)
    batches = ppo._minibatches(jax.random.key(6), episodes, advantages, returns, 2, axis_name)
    batch = jax.tree.map(lambda x: x[0], batches)
    shared = {"network": NETWORK, "settings": SETTINGS, "axis_name": axis_name}
    aux, gradient = ppo.loss_and_gradient(state.params, batch, SETTINGS.entropy_cost, **shared)
    stepped = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradient)
    again, _ = ppo.loss_and_gradient(stepped, batch, SETTINGS.entropy_cost, **shared)
    _, metrics = ppo.update(
        jax.random.key(7), state, env, num_selected=NUM_SELECTED, settings=SETTINGS, axis_name=axis_name
    )
    members = jax.tree.map(lambda x: jnp.stack([x, x, x]), state)
    static = {"num_selected": NUM_SELECTED, "num_updates": 1, "num_members": 2, "settings": SETTINGS}
    members, _ = learning.population_updates(jax.random.key(8), members, env, **static, axis_name=axis_name)
    return {
        "population rewards": (members.best_reward[:2], members.last_mean[:2]),
        "episodes actions": episodes.actions,
        "episodes rewards": episodes.rewards,
        "stage 3 losses": aux,
        "stage 3 gradient": gradient,
        "stage 3 losses after a step": again,
        "stage 3 rewards of an update": metrics[:4],
    }


def evaluation(arrays, axis_name):
    """All metrics, and mAP by a stable sort; 21 queries leave filling."""
    codes, labels = arrays["codes"], arrays["labels"]
    metrics = retrieval.metrics.retrieval_metrics(
        arrays["env"].query, arrays["env"].database, max_distance=NUM_BITS, axis_name=axis_name
    )
    pair = codes[:21], codes[21:], labels[:21], labels[21:]
    stable = retrieval.mean_average_precision(*pair, ties="stable", axis_name=axis_name)
    counted = {"evaluation counts": (metrics.num_queries, metrics.num_without_relevant)}
    return counted | {"evaluation means": (*metrics[:5], stable)}


def everything(arrays, *, axis_name):
    """All of the above."""
    return functools.reduce(
        lambda out, part: out | part(arrays, axis_name),
        [stage_2, pairs, stage_3, evaluation],
        stage_1(arrays, axis_name),
    )


def without_vary(arrays, *, axis_name):
    """Stage 2 with parameters that are not marked."""
    with mock.patch.object(parallel, "vary", lambda tree, axis_name: tree):
        return stage_2(arrays, axis_name)


def with_own_cotangent(arrays, *, axis_name):
    """Pairs with a gather that passes back to a device what its own share of the loss says, and no other."""
    gather = parallel.gather_rows

    @jax.custom_vjp
    def own(x):
        return parallel.vary(gather(x, axis_name), axis_name)

    own.defvjp(lambda x: (own(x), None), lambda _, cotangent: (parallel.local_rows(cotangent, axis_name),))
    with mock.patch.object(parallel, "gather_rows", lambda x, axis_name: own(x)):
        return pairs(arrays, axis_name)


def without_differentiable_total(arrays, *, axis_name):
    """Stage 1's exact path with the built-in derivative of psum."""
    with mock.patch.object(parallel, "differentiable_total", parallel.total):
        return stage_1(arrays, axis_name)


BODIES = {
    "everything": everything,
    "images": images,
    "stage_2": lambda arrays, *, axis_name: stage_2(arrays, axis_name),
    "without_vary": without_vary,
    "with_own_cotangent": with_own_cotangent,
    "without_differentiable_total": without_differentiable_total,
}


def main(out, programs, *processes):
    """Writes PROGRAM/NAME arrays."""
    if processes:
        coordinator, num_processes, process_id = processes
        jax.distributed.initialize(coordinator, int(num_processes), int(process_id))
    flat = {}
    for program in programs.split(","):
        wrapper, body = program.split(":")
        devices = None if wrapper == "jit" else parallel.find_devices(wrapper)
        results = parallel.wrap_step(BODIES[body], devices)(make_arrays())
        for name, value in results.items():
            flat[f"{program}/{name}"] = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(value)])
    if jax.process_index() == 0:
        np.savez(out, num_devices=len(jax.devices()), **flat)


if __name__ == "__main__":
    main(*sys.argv[1:])
