"""Stage 3: what every selector finds, and how soon PPO reaches greedy's reward beside MaskablePPO of sb3-contrib.

    python -m benchmarks.selectors --workdir=runs/c10
    pip install sb3-contrib; python -m benchmarks.selectors --workdir=runs/c10 --part=rival

The workdir is a finished run of configs/cifar10_features.py; its held-out training codes, 64 bits, are the pool. Of
the rival, whose reward is plain NumPy counting over distinct codes, both the library's own settings and ours are tried.
"""

import time
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from benchmarks.field_loop import counting_map
from benchmarks.pools import POOL_BITS, reward_of, reward_sample
from benchmarks.timing import describe_machine, first_call
from drlhash_jax import bit_selection
from drlhash_jax.bit_selection import learning

_WORKDIR = flags.DEFINE_string("workdir", "runs/c10", "A finished run of configs/cifar10_features.py.")
_PART = flags.DEFINE_enum("part", "selectors", ["selectors", "population", "rival"], "What is measured.")
_SEEDS = flags.DEFINE_integer("seeds", 10, "Keys of every selector that draws.")
_NUM_SELECTED = flags.DEFINE_integer("num_selected", 16, "p.")
_LIMIT = flags.DEFINE_float("limit", 120.0, "Seconds after which the rival is stopped.")


def _keys_of(name: str) -> int:
    """Keys that a selector is tried with: one where it draws nothing, few where it takes a training times seven."""
    if name == "population":
        return min(3, _SEEDS.value)
    drawn = bit_selection.SELECTORS[name].num_steps or name in (
        "annealing",
        "cross_entropy",
        "random",
        "best_of_random",
    )
    return _SEEDS.value if drawn else 1


def compare_selectors(env: bit_selection.EnvParams) -> None:
    """Prints the lead over greedy's reward, the number of rewards and the seconds of each selector, compiled before."""
    num_selected, tools = _NUM_SELECTED.value, bit_selection.SelectorTools(bit_selection.PPOSettings())
    greedy = float(bit_selection.SELECTORS["greedy"].select(jax.random.key(0), env, num_selected, tools).reward)
    print(f"{num_selected} of {POOL_BITS} bits; greedy's reward {greedy:.4f}; lead over it:")
    for name, selector in bit_selection.SELECTORS.items():
        nested = env.replace(lengths=(num_selected // 2, num_selected)) if selector.nested else env
        select = lambda seed: selector.select(jax.random.key(seed), nested, num_selected, tools)  # noqa: B023
        select(0)
        leads, seconds = [], []
        for seed in range(_keys_of(name)):
            start = time.perf_counter()
            found = select(seed)
            seconds.append(time.perf_counter() - start)
            leads.append(float(bit_selection.order_reward(env, found.order)) - greedy)
        print(
            f"  {name:20} {np.mean(leads):+.4f} ± {np.std(leads):.4f}, least {min(leads):+.4f}; "
            f"{found.num_evaluations} rewards, {np.median(seconds):.2f} s, {len(leads)} keys",
            flush=True,
        )


def time_population(env: bit_selection.EnvParams) -> None:
    """Prints the time of 16 trainings as one program over that of 16 programs, all with the same updates."""
    settings = bit_selection.PPOSettings(num_updates=40)
    static = {"num_selected": _NUM_SELECTED.value, "num_updates": 40, "settings": settings}
    key, keys = jax.random.key(0), jax.random.split(jax.random.key(1), settings.population)
    states = jax.vmap(lambda key: bit_selection.init_state(key, env, _NUM_SELECTED.value, settings))(keys)
    together = jax.jit(lambda states: learning.population_updates(key, states, env, num_members=len(keys), **static))
    one = lambda: bit_selection.init_state(key, env, _NUM_SELECTED.value, settings)
    alone = lambda: [bit_selection.train_chunk(key, one(), env, **static)[1] for _ in keys]
    print(f"first calls: together {first_call(lambda: together(states)):.1f} s, alone {first_call(alone):.1f} s")
    seconds = {"together": [], "alone": []}
    for _ in range(3):
        for name, function in (("together", lambda: together(states)), ("alone", alone)):
            start = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    print(f"16 trainings of 40 updates: together {medians['together']:.2f} s, one by one {medians['alone']:.2f} s")
    print(f"  together / one by one = {medians['together'] / medians['alone']:.2f}")


def _seconds_to_reach(env: bit_selection.EnvParams, goal: float, seed: int) -> float:
    """Wall time until PPO has played a set of that reward, compiled before; infinite if it never does."""
    settings = bit_selection.PPOSettings()
    init_key, train_key = jax.random.split(jax.random.key(seed))
    state = bit_selection.init_state(init_key, env, _NUM_SELECTED.value, settings)
    start = time.perf_counter()
    for _ in range(settings.num_updates // 4):
        state, metrics = bit_selection.train_chunk(
            train_key, state, env, num_selected=_NUM_SELECTED.value, num_updates=4, settings=settings
        )
        if float(metrics.best_reward[-1]) >= goal:
            return time.perf_counter() - start
    return float("inf")


def _rival_seconds(sample: tuple, goal: float, seed: int, ours: bool) -> tuple[float, float]:
    """Wall time until MaskablePPO has seen a set of that reward, infinite if not within the limit; its best reward."""
    import gymnasium
    from sb3_contrib import MaskablePPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.vec_env import DummyVecEnv

    query, database, query_labels, database_labels = sample
    num_selected, best = _NUM_SELECTED.value, [0.0]
    count_reward = lambda order: counting_map(query[:, order], database[:, order], query_labels, database_labels)
    rng = np.random.default_rng(seed)
    # It gets standard scores of random sets, as ours learns them: in the raw unit its critic learns nothing.
    drawn = [count_reward(rng.permutation(POOL_BITS)[:num_selected]) for _ in range(16)]

    class Bits(gymnasium.Env):
        observation_space = gymnasium.spaces.MultiBinary(POOL_BITS)
        action_space = gymnasium.spaces.Discrete(POOL_BITS)

        def reset(self, *, seed=None, options=None):
            self.selected = np.zeros(POOL_BITS, np.int8)
            return self.selected.copy(), {}

        def action_masks(self):
            return self.selected == 0

        def step(self, action):
            self.selected[action] = 1
            done = int(self.selected.sum()) == num_selected
            reward = 0.0
            if done:
                reward = count_reward(np.flatnonzero(self.selected))
                best[0] = max(best[0], reward)
                reward = (reward - np.mean(drawn)) / np.std(drawn)
            return self.selected.copy(), reward, done, False, {}

    start = time.perf_counter()

    class Stop(BaseCallback):
        def _on_step(self):
            return best[0] < goal and time.perf_counter() - start < _LIMIT.value

    settings = {"n_steps": 32, "batch_size": 64, "seed": seed, "device": "cpu"}
    if ours:
        settings |= {"learning_rate": 1e-3, "n_epochs": 8, "gamma": 1.0, "gae_lambda": 0.9, "ent_coef": 0.05}
    model = MaskablePPO("MlpPolicy", DummyVecEnv([Bits] * 8), **settings)
    model.learn(10_000_000, callback=Stop())
    spent = time.perf_counter() - start
    return (spent if best[0] >= goal else float("inf")), best[0]


def compare_with_rival(env: bit_selection.EnvParams, sample: tuple) -> None:
    """Prints the seconds until greedy's reward is reached, and their ratio."""
    tools = bit_selection.SelectorTools(bit_selection.PPOSettings())
    goal = float(bit_selection.SELECTORS["greedy"].select(jax.random.key(0), env, _NUM_SELECTED.value, tools).reward)
    print(f"greedy's reward {goal:.4f}; compiling takes {first_call(lambda: _seconds_to_reach(env, 0.0, 0)):.1f} s")
    ours = [_seconds_to_reach(env, goal, seed) for seed in range(_SEEDS.value)]
    reached = int(np.isfinite(ours).sum())
    print(f"PPO: median {np.median(ours):.2f} s, {reached} of {len(ours)} keys reach it: {np.round(ours, 2)}")
    for name, like_ours in (("our settings", True), ("its own settings", False)):
        found = [_rival_seconds(sample, goal, seed, like_ours) for seed in range(min(3, _SEEDS.value))]
        print(f"MaskablePPO, {name}: seconds and best reward {[(round(each, 1), round(b, 4)) for each, b in found]}")
        # One that was stopped had needed more than the limit.
        at_least = np.median([min(each, _LIMIT.value) for each, _ in found])
        print(f"  its seconds / ours: {at_least / np.median(ours):.0f} or more", flush=True)


def main(_) -> None:
    """Runs one part."""
    print(describe_machine())
    sample = reward_sample(Path(_WORKDIR.value))
    env = reward_of(sample)
    if _PART.value == "rival":
        compare_with_rival(env, sample)
    else:
        {"selectors": compare_selectors, "population": time_population}[_PART.value](env)


if __name__ == "__main__":
    app.run(main)
