"""The command line of ``twistd nfp-configurator`` and the wiring of its process."""

from __future__ import annotations

from twisted.application.service import IService
from twisted.python.usage import Options as BaseOptions
from twisted.python.usage import UsageError

from nfp.configurator.config import ConfiguratorSettings, read
from nfp.configurator.service import configurator_service
from nfp.daemon.ending import exit_cleanly
from nfp.daemon.settings import SettingsError


class Options(BaseOptions):
    """What may be said on the command line."""

    optParameters = [["ready-file", None, None, "A file that exists exactly while the process is ready."]]
    settings: ConfiguratorSettings

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["config"] = []

    def opt_config(self, path: str) -> None:
        """INI file to read; may be given again, later ones win."""
        self["config"].append(path)

    def postOptions(self) -> None:
        """Read and check the configuration."""
        try:
            self.settings = read(self["config"])
        except SettingsError as problem:
            raise UsageError(str(problem)) from None


def makeService(options: Options) -> IService:
    """Build the process."""
    from twisted.internet import reactor

    exit_cleanly(reactor)
    return configurator_service(reactor, options.settings, options["config"], options["ready-file"])
