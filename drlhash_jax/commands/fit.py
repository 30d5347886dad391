r"""``fit``: embeddings with labels, or a folder of images for each class, to a model.

    python -m drlhash_jax.main fit --embeddings=clip.npy --labels=labels.npy --bits=64 --model=runs/clip
    python -m drlhash_jax.main fit --images=FOLDER --bits=64 --model=runs/photos

Sizes follow from the data; half of the rows at most are trained on, and the codes are measured on the others. The
directory is that of a run: the same command again goes on where it was stopped, or finishes at once.
"""

import shlex
from types import ModuleType
from typing import TYPE_CHECKING

from absl import flags

from drlhash_jax.errors import UserError

if TYPE_CHECKING:
    from drlhash_jax.fitting import Fitted

_EMBEDDINGS = flags.DEFINE_string("embeddings", None, "Array [N, D] in FILE.npy, FILE.npz:KEY or FILE.safetensors:KEY.")
_LABELS = flags.DEFINE_string(
    "labels", None, "Labels of the embeddings, same forms: integers [N], or 0 and 1 [N, C] for several a row."
)
_IMAGES = flags.DEFINE_string("images", None, "Folder of images, with a sub-folder for each class.")
_BITS = flags.DEFINE_integer("bits", 64, "Length of the codes.", lower_bound=1)
_MODEL = flags.DEFINE_string("model", None, "Directory of the model; made if needed.")
_METHOD = flags.DEFINE_string(
    "method", "", "Hashing method, see README; by default erh or, for many embeddings, hashnet; drlhash for images."
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the rows that are kept back, and of the training.", lower_bound=0)


def _check_flags() -> None:
    if not _MODEL.value:
        raise UserError("fit needs --model=DIR, and --embeddings=FILE with --labels=FILE, or --images=FOLDER")
    if bool(_IMAGES.value) == bool(_EMBEDDINGS.value):
        raise UserError("give one of --embeddings=FILE and --images=FOLDER")
    if bool(_EMBEDDINGS.value) != bool(_LABELS.value):
        raise UserError("--labels=FILE goes with --embeddings: the labels of images are the names of their sub-folders")


def _run(fitting: ModuleType, terminal: ModuleType) -> "Fitted":
    """Trains; messages name the flags of this command in place of the fields that they have set."""
    choice = fitting.Choice(_BITS.value, _METHOD.value, _SEED.value)
    inputs = "--images" if _IMAGES.value else "--embeddings"
    try:
        if _IMAGES.value:
            config = fitting.images_fit(_IMAGES.value, choice)
        else:
            config = fitting.embeddings_fit(_EMBEDDINGS.value, _LABELS.value, choice)
        with terminal.StopSignals() as signals:
            return fitting.fit(config, _MODEL.value, lambda: signals.received)
    except UserError as error:
        text = str(error)
        for field, flag in (("data.path", inputs), ("data.labels_path", "--labels")):
            text = text.replace(f"--config.{field}", flag)
        raise UserError(text.replace("--workdir", "--model")) from error


def _print_quality(fitted: "Fitted") -> None:
    row, interval = fitted.row, fitted.row["map_interval"]
    print(
        f"{row['bits']} bits by {row['method']}, {fitted.train} rows trained on; {row['n_query']} others were searched "
        f"for in {row['n_database']} more:"
    )
    if fitted.precision is None or interval is None:
        print("  no label to measure by")
        return
    bound = f"; no more than {fitted.possible:.1%} can, as classes are that small" if fitted.possible < 0.9995 else ""
    print(f"  {fitted.precision:.1%} of the {fitted.nearest} nearest rows have a right label{bound}")
    print(f"  mAP {row['map']:.3f}, 95 % interval {interval[0]:.3f} to {interval[1]:.3f}")


def _print_next(model: str) -> None:
    program, folder = "python -m drlhash_jax.main", shlex.quote(model)
    inputs, query = ("--images=FOLDER", "--image=FILE") if _IMAGES.value else ("--embeddings=FILE", "--embedding=FILE")
    role = " --role=database" if _METHOD.value == "erh_two" else ""
    print(
        f"written: {model}",
        "next:",
        f"  {program} encode --model={folder} {inputs}{role} --bundle=codes.drlh",
        f"  {program} query --bundle=codes.drlh --model={folder} {query}",
        sep="\n",
    )


def run() -> None:
    """Trains the model, and prints how good its codes are and what to do with it."""
    _check_flags()
    # Imported here: flags are answered without waiting for the array libraries to load.
    from drlhash_jax import fitting, terminal

    fitted = _run(fitting, terminal)
    _print_quality(fitted)
    _print_next(_MODEL.value)
