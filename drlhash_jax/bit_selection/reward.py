"""stub"""

import dataclasses

from drlhash_jax.settings import Settings, setting

CODES = ("auto", "crossfit", "holdout", "fitted")


@dataclasses.dataclass(frozen=True)
class RewardSettings(Settings):
    """stub"""

    codes: str = setting("auto", "codes", choices=CODES)
    num_folds: int = setting(5, "encoders fitted for crossfit", least=2, most=10_000)
    holdout: float = setting(0.3, "share", least=0.0, most=1.0)
    num_queries: int = setting(200, "training rows that act as queries", least=1, most=100_000_000)
    num_database: int | None = setting(None, "limit", least=1, most=2**31 - 1, zero_is_none=True)
