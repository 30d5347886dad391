"""Templates to files of HTML: everything inside them, every text escaped."""

from importlib import resources

from drlhash_jax.errors import UserError


def _find(package: str, name: str) -> str | None:
    """A file of a room, or one that all pages share."""
    for each in (package, __package__):
        file = resources.files(each).joinpath(name)
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return None


def make_environment(package: str = __package__):
    """Jinja's environment, which escapes every value.

    Args:
      package: the room whose templates it finds, beside those of this one.

    Raises:
      UserError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError as error:
        raise UserError("the page needs the package jinja2: pip install 'drlhash-jax[report]'") from error
    loader = FunctionLoader(lambda name: _find(package, name))
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=loader)


def render(package: str, template: str, content: dict[str, object]) -> bytes:
    """A page of HTML in UTF-8.

    Args:
      package: the room of the template.
      template: its file.
      content: name in the template -> value.

    Raises:
      UserError: jinja2 is not installed.
    """
    return make_environment(package).get_template(template).render(content).encode()
