"""The command line of ``twistd nfp-manager`` and the wiring of its process."""

from __future__ import annotations

from twisted.application.service import IService

from nfp.daemon.command import DaemonOptions
from nfp.daemon.ending import exit_cleanly
from nfp.daemon.ready import Ready
from nfp.manager.config import ManagerSettings, read
from nfp.manager.service import Manager


class Options(DaemonOptions[ManagerSettings]):
    """What may be said on the command line."""

    read = staticmethod(read)


def makeService(options: Options) -> IService:
    """Build the process."""
    from twisted.internet import reactor

    exit_cleanly(reactor)
    return Manager(reactor, options.settings, options["config"], Ready(reactor, options["ready-file"]))
