"""``doctor``: what somebody should know about this installation where something does not work.

    python -m drlhash_jax.main doctor
    python -m drlhash_jax.main doctor --bundle=photos.drlh --model=runs/photos

A line each: ok, note, or problem with what to do. The exit code is 1 if there is a problem. Changes nothing.
"""

from absl import flags

from drlhash_jax.errors import UserError

_BUNDLE = flags.DEFINE_string("bundle", None, "Also whether this bundle opens.")
_MODEL = flags.DEFINE_string("model", None, "Also whether this model or run opens; with --bundle, whether it made it.")


def run() -> None:
    """Prints what is found, as it is found."""
    from drlhash_jax import doctor

    problems = 0
    for finding in doctor.examine(_BUNDLE.value, _MODEL.value):
        problems += finding.level == doctor.PROBLEM
        print(f"{finding.level + ':':<8} {finding.text}", flush=True)
    if problems:
        raise UserError(f"{problems} problem(s) found: see the lines above")
