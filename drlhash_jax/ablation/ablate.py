"""A whole ablation: its runs, one after the other, then one table and one page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_collections

from drlhash_jax import runs
from drlhash_jax.ablation.settings import Ablation, Cell, load_ablation
from drlhash_jax.ablation.tables import ablation_content, write_page, write_tables
from drlhash_jax.config import load, merged, plain_config
from drlhash_jax.errors import UserError
from drlhash_jax.files import write_json
from drlhash_jax.pages import make_environment
from drlhash_jax.pipeline import train_and_evaluate

_CONFIG = "ablation_config.json"


def cell_config(ablation: Ablation, cell: Cell) -> dict[str, Any]:
    """Configuration of one run: the pool's own fields on top of the base, and those of the cell on top of both.

    Encoders at each length, which all selections of a pool are compared with, are trained beside the first reward.
    """
    settings = ablation.settings
    own = merged(ablation.base, ablation.pools.get(cell.pool, {}))
    changes: dict[str, Any] = {"method": cell.pool, "seed": cell.seed, "selectors": settings.selectors}
    changes |= {"last_stage": "selection", "train_direct": cell.reward == settings.rewards[0]}
    changes["reward"] = {"codes": cell.reward}
    if cell.table == "unseen":
        changes["data"] = {"protocol": settings.unseen}
    return merged(own, changes)


def ablate(
    config: ml_collections.ConfigDict,
    workdir: str,
    *,
    say: Callable[[str], None] = lambda text: None,
    stop_requested: Callable[[], str | None] = lambda: None,
) -> list[Path]:
    """Runs an ablation, or goes on where an earlier call was stopped.

    Args:
      config: see `ablation_config`.
      workdir: directory of the ablation; created if needed.
      say: told what is going on.
      stop_requested: asked between steps for the name of a signal to stop.

    Returns:
      Paths of the files that were written: all numbers, tables and the page.

    Raises:
      UserError: the configuration, the data or the directory cannot work, or jinja2 is not installed.
      FloatingPointError: a loss stopped being finite.
      RunStoppedError: a stop was requested; what is done is saved.
    """
    ablation = load_ablation(config)
    # Asks for the package of the page before hours are spent.
    make_environment()
    for cell in ablation.cells:
        load(cell_config(ablation, cell))
    folder = Path(workdir)
    lock = runs.claim_directory(folder, _CONFIG, plain_config(config), "ablation")
    try:
        rows = {}
        for number, cell in enumerate(ablation.cells):
            say(f"{number + 1} of {len(ablation.cells)}: {cell.folder}")
            place = folder / cell.folder
            place.parent.mkdir(parents=True, exist_ok=True)
            rows[cell] = train_and_evaluate(cell_config(ablation, cell), str(place), stop_requested)
        content = ablation_content(ablation, rows)
        write_json(folder / "ablation.json", content)
        return [folder / "ablation.json", *write_tables(folder, content), write_page(folder, content)]
    except OSError as error:
        raise UserError(f"--workdir={folder} cannot be written: {error.strerror}") from error
    finally:
        runs.unlock_directory(folder, lock)
