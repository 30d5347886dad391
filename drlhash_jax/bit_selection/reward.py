"""The reward of stage 3: mAP of some training rows as queries against the others as the database."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax.bit_selection.environment import EnvParams, mask_of, subset_precisions
from drlhash_jax.bit_selection.selectors import order_reward
from drlhash_jax.codes import pack_distinct
from drlhash_jax.errors import UserError
from drlhash_jax.settings import Settings, setting
from drlhash_jax.types import Array

REWARD_CODES = ("auto", "crossfit", "holdout", "fitted")


@dataclasses.dataclass(frozen=True)
class RewardSettings(Settings):
    """Settings of the reward.

    On codes of rows that the encoder was fitted to, almost any subset of bits is perfect. So the reward takes codes of
    rows that their encoder did not see: "crossfit" fits an encoder for every fold and lets it encode that fold, which
    needs bits that mean the same in all folds; "holdout" leaves a share of the training rows out; "fitted" is the
    ablation that saturates.
    """

    codes: str = setting(
        "auto",
        "codes that bits are judged by: crossfit, holdout or fitted; auto is crossfit where the method's bits mean the "
        "same in every fold, fitted where nothing is trained, else holdout",
        choices=REWARD_CODES,
    )
    num_folds: int = setting(5, "encoders fitted for crossfit", least=2, most=1_000)
    holdout: float = setting(0.3, "share of the training rows left out for holdout", least=0.001, most=0.999)
    num_queries: int = setting(
        200, "training rows that act as queries; the others act as the database", least=1, most=100_000_000
    )
    num_database: int | None = setting(
        None,
        "limit to the rows that act as the database; 0 for all others",
        least=1,
        most=1_000_000_000,
        zero_is_none=True,
    )

    def choose_codes(self, method: str, *, shared_bits: bool, fits_rows: bool) -> str:
        """Resolves "auto" for a method.

        Args:
          method: its name, for the message.
          shared_bits: whether bit k means the same in every fold, whatever rows the encoder was fitted to.
          fits_rows: whether it is trained at all; if not, no row is one that it has seen.

        Returns:
          "crossfit", "holdout" or "fitted".

        Raises:
          UserError: crossfit of a method whose folds have bits of their own.
        """
        if self.codes == "auto":
            return "crossfit" if shared_bits else "holdout" if fits_rows else "fitted"
        if self.codes == "crossfit" and not shared_bits:
            raise UserError(
                f"reward.codes=crossfit: a bit of method={method} means something else in every fold; "
                "choose holdout, or fitted"
            )
        return self.codes


def make_reward(
    key: Array,
    codes: np.ndarray,
    labels: np.ndarray,
    settings: RewardSettings,
    *,
    query_codes: np.ndarray | None = None,
    held_out: bool = False,
    top_k: int | None = None,
) -> EnvParams:
    """Draws the reward's queries and database from the training rows whose codes may judge bits.

    Args:
      key: PRNG key, consumed.
      codes: {0, 1} array ``[n, k]`` of the pool's codes.
      labels: integer ``[n]`` (negative: no label) or multi-hot ``[n, C]``.
      settings: RewardSettings.
      query_codes: the same rows' codes as queries, where these have a function of their own.
      held_out: whether these are only the rows left out for "holdout"; of those, half at most become queries.
      top_k: ranks that count in the mAP; None for all.

    Returns:
      EnvParams: the reward as a function of a subset of bits, see `subset_reward`.

    Raises:
      UserError: too few rows, or no query shares a label with a row of the database.
    """
    num_queries = min(settings.num_queries, len(labels) // 2) if held_out else settings.num_queries
    if not 0 < num_queries < len(labels):
        raise UserError(
            f"reward.num_queries={settings.num_queries}: the reward has {len(labels)} training rows, and needs one "
            "query at least and one other row; lower reward.num_queries"
            + (", or raise reward.holdout" if held_out else "")
        )
    order = np.asarray(jax.random.permutation(key, len(labels)))
    query, database = order[:num_queries], order[num_queries:][: settings.num_database]
    env = EnvParams(
        query=pack_distinct((codes if query_codes is None else query_codes)[query], labels[query]),
        database=pack_distinct(codes[database], labels[database]),
        pool_bits=codes.shape[1],
        top_k=top_k,
    )
    if not np.isfinite(order_reward(env, np.arange(codes.shape[1]))):
        raise UserError(
            f"reward.num_queries={settings.num_queries}: none of the {num_queries} training rows that act as queries "
            f"shares a label with the {len(database)} others; raise reward.num_queries or reward.num_database"
        )
    return env


class RewardNoise(NamedTuple):
    """How sure a reward is, with other queries than those it has.

    Attributes:
      error: standard error of the reward.
      lead: by how much it is above the reward that it is compared with.
      low: lower end of the 95 % interval of the lead, from the differences of the same queries.
      high: its upper end.
    """

    error: float
    lead: float
    low: float
    high: float


@jax.jit
def _order_precisions(env: EnvParams, order: jax.Array) -> tuple[jax.Array, jax.Array]:
    return subset_precisions(env, mask_of(order, env.pool_bits))


def _mean_and_error(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    count = weights.sum()
    mean = weights @ values / count
    variance = weights @ (values - mean) ** 2 / max(count - 1.0, 1.0)
    return float(mean), float(np.sqrt(variance / count))


def reward_noise(env: EnvParams, order: np.ndarray, other: np.ndarray) -> RewardNoise:
    """The noise of the reward of a choice of bits, and of its lead over another choice.

    Args:
      env: EnvParams.
      order: int ``[p]``, pool positions of the choice.
      other: int ``[p]``, those of what it is compared with.

    Returns:
      RewardNoise; the errors are 0 where there is one query.
    """
    (mine, weights), (others, _) = (_order_precisions(env, jnp.asarray(each, jnp.int32)) for each in (order, other))
    mine, others, weights = (np.asarray(each, np.float64) for each in (mine, others, weights))
    lead, error = _mean_and_error(mine - others, weights)
    # 1.96: the .975 quantile of the normal distribution.
    return RewardNoise(_mean_and_error(mine, weights)[1], lead, lead - 1.96 * error, lead + 1.96 * error)
