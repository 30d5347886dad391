"""What ends a command with one line instead of a traceback."""


class UserError(ValueError):
    """A mistake in the input: the message alone tells what is wrong, where, and what to do."""


class RunStoppedError(Exception):
    """A run was asked to stop, and what it had done is saved."""
