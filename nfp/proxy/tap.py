"""The command line of ``twistd nfp-proxy`` and the wiring of its process."""

from __future__ import annotations

from twisted.application.service import IService

from nfp.daemon.command import DaemonOptions
from nfp.daemon.ending import exit_cleanly
from nfp.daemon.ordered import OrderedService
from nfp.daemon.ready import Ready
from nfp.proxy.config import ProxySettings, read
from nfp.proxy.forward import Forwarder


class Options(DaemonOptions[ProxySettings]):
    """What may be said on the command line."""

    read = staticmethod(read)


def makeService(options: Options) -> IService:
    """Build the process."""
    from twisted.internet import reactor

    exit_cleanly(reactor)
    process = OrderedService()  # type: ignore[no-untyped-call]
    forwarder = Forwarder(reactor, options.settings)
    forwarder.setServiceParent(process)  # type: ignore[no-untyped-call]
    ready = _ReadyAtStart(reactor, options["ready-file"])
    ready.setServiceParent(process)  # type: ignore[no-untyped-call]
    return process


class _ReadyAtStart(Ready):
    """Ready as soon as it starts: the socket, started before it, already listens."""

    def startService(self) -> None:
        super().startService()
        self.tell()
