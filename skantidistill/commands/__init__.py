"""The commands of the command line, a module each."""

__all__ = ["INTERRUPTED"]

#: The exit status after Ctrl-C, as of a shell's commands.
INTERRUPTED = 130
