"""The commands of the command line, a module each; only the one that is asked for is imported, and its flags defined.

A module has its flags, and ``run()``. It may have ``complete_arguments(argv)``, which sees the arguments first.
"""

COMMANDS = ("train", "eval", "report")
