"""The errors that a user can cause. Each message is one paragraph: what is wrong, where, what to do."""

from collections.abc import Iterator
from contextlib import contextmanager


class ArrieroError(Exception):
    """Base of the errors below. The command line prints the message alone and exits with code 2."""


class ConfigError(ArrieroError):
    """A recipe, a config field or a command-line setting is wrong."""


class InputError(ArrieroError):
    """A file or folder that the user gave is missing or holds something unusable."""


class ArtifactError(ArrieroError):
    """A stored artifact is missing, damaged, or of another kind than the one asked for."""


@contextmanager
def at(place: str) -> Iterator[None]:
    """Puts `place` before the message of a user's error that is raised inside."""
    try:
        yield
    except ArrieroError as error:
        raise type(error)(f"{place}: {error}") from error


class Stopped(Exception):  # noqa: N818 - a request, not an error
    """The user asked to stop (Ctrl-C, SIGTERM). What was done is saved; running again goes on from there."""
