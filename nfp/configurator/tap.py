"""The command line of ``twistd nfp-configurator`` and the wiring of its process."""

from __future__ import annotations

from twisted.application.service import IService

from nfp.configurator.config import ConfiguratorSettings, read
from nfp.configurator.service import configurator_service
from nfp.daemon.command import DaemonOptions
from nfp.daemon.ending import exit_cleanly


class Options(DaemonOptions[ConfiguratorSettings]):
    """What may be said on the command line."""

    read = staticmethod(read)


def makeService(options: Options) -> IService:
    """Build the process."""
    from twisted.internet import reactor

    exit_cleanly(reactor)
    return configurator_service(reactor, options.settings, options["config"], options["ready-file"])
