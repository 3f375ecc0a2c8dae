"""``twistd nfp-device``: command line and wiring of the device runtime."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.application.service import IService

from nfp.daemon.command import DaemonOptions
from nfp.daemon.ending import exit_cleanly
from nfp.daemon.ordered import OrderedService
from nfp.daemon.ready import Ready
from nfp.daemon.threads import Threads
from nfp.device.config import DeviceSettings, read
from nfp.device.control import ControlSocket
from nfp.device.runtime import Runtime
from nfp.device.store import Store
from nfp.rest.tls import server_options


class Options(DaemonOptions[DeviceSettings]):
    """What may be said on the command line."""

    read = staticmethod(read)


def makeService(options: Options) -> IService:
    """Wire the runtime."""
    from twisted.internet import reactor

    exit_cleanly(reactor)
    settings = options.settings
    return wire(reactor, replace(settings, ready_file=options["ready-file"] or settings.ready_file))


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
