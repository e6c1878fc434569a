"""Errors that a user can act on.

Every message says what was found, what was expected and what to do next, with the path. A traceback
that is not a `SuperresError` is a bug of superres.
"""

from __future__ import annotations


class SuperresError(Exception):
    """Anything that went wrong for a reason the user can change; the CLI exits with code 2."""


class ConfigError(SuperresError, ValueError):
    """A recipe or setting is wrong: unknown key, mistyped or impossible value."""


class InputError(SuperresError, ValueError):
    """An image, volume or manifest cannot be used as it is."""


class UnknownFormatError(InputError):
    """A file or folder is of no format that superres reads."""


class UnknownAxesError(InputError):
    """A file does not say what its axes are; `found` has a letter for each, `shape` the lengths."""

    def __init__(self, message: str, found: str, shape: tuple[int, ...]) -> None:
        super().__init__(message)
        self.found = found
        self.shape = shape


class DuplicateError(InputError):
    """One image stands in two splits; `acquisitions` are the ids of the two that hold it."""

    def __init__(self, message: str, *acquisitions: str) -> None:
        super().__init__(message)
        self.acquisitions = acquisitions


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder that was named does not exist."""

    def __str__(self) -> str:
        # OSError.__str__ would print errno and strerror when more than one argument is given.
        return str(self.args[0]) if self.args else ""


class ModelFileError(SuperresError, ValueError):
    """A model file cannot be read, or does not fit the input."""


class OutputExistsError(SuperresError, FileExistsError):
    """The output holds something made by other settings; it is never overwritten unless asked."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class OutputInUseError(SuperresError):
    """Another run writes this output at the moment."""


class OutputWriteError(SuperresError, OSError):
    """Writing failed (a full disk, a lost mount); what is finished stays valid and resumable."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class DiskFullError(OutputWriteError):
    """Writing failed for want of space: with some space freed it can go on."""


class ClusterError(SuperresError):
    """A cluster cannot be reached or started, or one of its workers lacks something."""


class Cancelled(SuperresError):
    """Raised out of a progress callback to stop a job; safe at any moment."""


class Enough(SuperresError):
    """Raised out of a progress callback to end a training before its time and keep the model as it is then."""
