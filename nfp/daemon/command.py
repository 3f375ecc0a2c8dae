"""The command line that every daemon has: its INI files, and a file that says when it is ready."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from twisted.python.usage import Options, UsageError

from nfp.daemon.settings import SettingsError

S = TypeVar("S")


class DaemonOptions(Options, Generic[S]):
    """What may be said on the command line of a daemon.

    A component's ``Options`` names its ``read``.

    :ivar settings: what the files say, read and checked.
    """

    optParameters = [["ready-file", None, None, "A file that exists exactly while the process is ready."]]
    read: Callable[[Sequence[str]], S]
    settings: S

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["config"] = []

    def opt_config(self, path: str) -> None:
        """INI file to read; may be given again, later ones win."""
        self["config"].append(path)

    def postOptions(self) -> None:
        """Read and check the configuration."""
        try:
            self.settings = type(self).read(self["config"])
        except SettingsError as problem:
            raise UsageError(str(problem)) from None
