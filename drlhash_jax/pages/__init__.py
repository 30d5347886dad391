"""What all pages of HTML share: one look, macros, and an environment that escapes every text."""

from drlhash_jax.pages.render import make_environment, render

__all__ = ["make_environment", "render"]
