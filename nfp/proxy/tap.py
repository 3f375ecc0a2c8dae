"""The command line of ``twistd nfp-proxy`` and the wiring of its process."""

from __future__ import annotations

from twisted.application.service import IService
from twisted.python.usage import Options as BaseOptions
from twisted.python.usage import UsageError

from nfp.daemon.ending import exit_cleanly
from nfp.daemon.ordered import OrderedService
from nfp.daemon.ready import Ready
from nfp.daemon.settings import SettingsError
from nfp.proxy.config import ProxySettings, read
from nfp.proxy.forward import Forwarder


class Options(BaseOptions):
    """What may be said on the command line."""

    optParameters = [["ready-file", None, None, "A file that exists exactly while the process is ready."]]
    settings: ProxySettings

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
