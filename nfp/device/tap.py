"""``twistd nfp-device``: command line and wiring of the device runtime."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from nfp.daemon.ending import exit_cleanly
from nfp.daemon.ordered import OrderedService
from nfp.daemon.ready import Ready
from nfp.daemon.settings import SettingsError
from nfp.daemon.threads import Threads
from nfp.device.config import DeviceSettings, read
from nfp.device.control import ControlSocket
from nfp.device.runtime import Runtime
from nfp.device.store import Store
from nfp.rest.tls import server_options


class Options(usage.Options):
    """Options of ``twistd nfp-device``."""

    settings: DeviceSettings

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.files: list[str] = []

    def opt_config(self, path: str) -> None:
        """Read this INI file; may be given several times, later ones win."""
        self.files.append(path)

    def postOptions(self) -> None:
        """Read the settings and check them whole."""
        if not self.files:
            raise usage.UsageError("name at least one file with --config")
        try:
            self.settings = read(self.files)
        except SettingsError as error:
            raise usage.UsageError(str(error)) from None


def makeService(options: Options) -> IService:
    """Wire the runtime."""
    from twisted.internet import reactor

    exit_cleanly(reactor)
    return wire(reactor, options.settings)


def wire(reactor: Any, settings: DeviceSettings) -> OrderedService:
    """Make the runtime's services: the runtime, the control socket, the word that all is ready."""
    top = OrderedService()  # type: ignore[no-untyped-call]
    runtime = Runtime(
        reactor,
        Threads(reactor, settings.threads),
        Store(settings.state_dir),
        server_options(settings.certificate, settings.ca),
        settings.clients,
    )
    ready = Ready(reactor, settings.ready_file)
    for child in (runtime, ControlSocket(reactor, runtime, settings.socket), ready):
        child.setServiceParent(top)  # type: ignore[no-untyped-call]
    _ = runtime.started.addCallback(lambda _: ready.tell())
    return top
