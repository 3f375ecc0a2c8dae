"""All devices that this process serves: a listening socket inside each namespace, one lane per device."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from nfp.daemon.inflight import InFlight
from nfp.daemon.threads import Threads
from nfp.device.served import ServedDevice
from nfp.device.server import MAX_BODY, DeviceApi
from nfp.device.store import DeviceState, Store, check_id
from nfp.model.errors import Conflict, Invalid, NotFound, Transient, Unavailable
from nfp.netns import namespaces
from nfp.netns.inside import listen_inside
from nfp.rest.listening import adopt
from nfp.rest.site import json_site
from nfp.rest.tls import over_tls

T = TypeVar("T")


@dataclass
class _Entry:
    """A device with what serves it.

    :ivar inode: of the namespace in which the socket listens: one that was made again under the
        same name is another.
    """

    device: ServedDevice
    lane: DeferredLock = field(default_factory=DeferredLock)
    port: IListeningPort | None = None
    factory: TLSMemoryBIOFactory | None = None
    inode: int | None = None


class Runtime(Service):
    """Serves devices, those of the store from its start on.

    :param threads: for what blocks; started and stopped here.
    :param tls: the server's side of mutual TLS, the same for all devices.
    :param clients: fnmatch patterns of the names that may ask a device.
    """

    name = "runtime"
    log = Logger()

    def __init__(
        self,
        reactor: Any,
        threads: Threads,
        store: Store,
        tls: IOpenSSLServerConnectionCreator,
        clients: Sequence[str],
    ) -> None:
        self._reactor = reactor
        self._threads = threads
        self._store = store
        self._tls = tls
        self._clients = clients
        self._entries: dict[str, _Entry] = {}
        self._in_flight = InFlight(self.log)
        self.started: Deferred[None] = Deferred()
        """Fires when all devices of the store are served or known not to be there."""

    def startService(self) -> None:
        """Begin to serve what was served before."""
        super().startService()  # type: ignore[no-untyped-call]
        self._threads.start()
        for state in self._store.load():
            self._entries[state.nsd_id] = _Entry(ServedDevice(state, self._store))
        _ = self._in_flight.start("serving what was served before", self._serve_again())

    async def _serve_again(self) -> None:
        for nsd_id, entry in list(self._entries.items()):
            try:
                await self._listen(entry)
            except (Transient, Invalid) as error:
                # It stays in the store: whoever makes the namespace again says so over the control socket.
                self.log.warn("device {nsd_id} is not served: {reason}", nsd_id=nsd_id, reason=error.reason)
        # Never before the other services have started, even when there is nothing to serve.
        await deferLater(self._reactor, 0.0)
        self.started.callback(None)

    def stopService(self) -> Deferred[None]:
        """Stop listening and wait for what is under way; the data plane stays as it is."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for entry in self._entries.values():
            async with entry.lane:
                await self._close(entry)
        await self._in_flight.drain(self._reactor, 10.0)
        self._threads.stop()

    async def serve(self, nsd_id: str, namespace: str, address: str, port: int) -> None:
        """Serve a device from now on, also after a restart; may be repeated.

        :raises Transient: its namespace or address is not there yet.
        """
        await _to_its_end(self._serve(nsd_id, namespace, address, port))

    async def _serve(self, nsd_id: str, namespace: str, address: str, port: int) -> None:
        check_id(nsd_id)
        try:
            namespaces.path_of(namespace)
        except ValueError as error:
            raise Invalid(str(error), field="namespace") from None
        for other in self._entries.values():
            if other.device.state.namespace == namespace and other.device.state.nsd_id != nsd_id:
                raise Conflict(f"namespace {namespace} is that of device {other.device.state.nsd_id}")
        entry = self._entries.get(nsd_id)
        if entry is None:
            state = DeviceState(nsd_id, namespace, address, port)
            entry = self._entries[nsd_id] = _Entry(ServedDevice(state, self._store))
            await self._threads.call(self._store.write, state)
        state = entry.device.state
        if (state.namespace, state.address, state.port) != (namespace, address, port):
            async with entry.lane:
                await self._close(entry)
                state.namespace, state.address, state.port = namespace, address, port
                await self._threads.call(self._store.write, state)
        await self._listen(entry)

    async def _listen(self, entry: _Entry) -> None:
        async with entry.lane:
            state = entry.device.state
            try:
                inode = await self._threads.call(_inode, state.namespace)
                if entry.port is not None and entry.inode == inode:
                    return
                await self._close(entry)
                opened = await self._threads.call(listen_inside, state.namespace, state.address, state.port)
            except OSError as error:
                raise Transient(error.strerror or str(error)) from error
            if not self.running:
                opened.close()
                raise Unavailable("stopping")
            self._adopt(entry, opened, inode)

    def _adopt(self, entry: _Entry, opened: socket.socket, inode: int) -> None:
        nsd_id = entry.device.state.nsd_id
        api = DeviceApi(lambda function, *args: self._run(nsd_id, function, *args), self._clients)
        site = json_site(api.app.resource(), self._reactor, max_body=MAX_BODY)
        entry.factory = over_tls(self._tls, site)
        entry.port = adopt(self._reactor, opened, entry.factory)
        entry.inode = inode
        self.log.info("device {nsd_id} is served in {namespace}", **_where(entry.device.state))

    async def _close(self, entry: _Entry) -> None:
        """Stop listening and cut connections: any socket of ours would keep the namespace alive."""
        port, factory = entry.port, entry.factory
        entry.port = entry.factory = entry.inode = None
        if port is not None:
            stopping: Any = port.stopListening()
            if stopping is not None:
                await stopping
        while factory is not None and factory.protocols:
            for connection in list(factory.protocols):
                connection.abortConnection()
            await deferLater(self._reactor, 0.0)
        await self._threads.call(entry.device.close)

    async def forget(self, nsd_id: str) -> None:
        """Serve a device no more and forget what it was told; not known is success."""
        await _to_its_end(self._forget(nsd_id))

    async def _forget(self, nsd_id: str) -> None:
        entry = self._entries.get(check_id(nsd_id))
        if entry is None:
            return
        async with entry.lane:
            await self._close(entry)
            await self._threads.call(self._store.remove, nsd_id)
            self._entries.pop(nsd_id, None)

    def served(self) -> dict[str, dict[str, object]]:
        """Where each device is, and whether it can be reached."""
        return {
            nsd_id: {
                "namespace": entry.device.state.namespace,
                "address": entry.device.state.address,
                "port": entry.device.state.port,
                "listening": entry.port is not None,
            }
            for nsd_id, entry in sorted(self._entries.items())
        }

    async def _run(self, nsd_id: str, function: Callable[..., T], *args: object) -> T:
        """Run an operation of a device in a thread, after those that came before."""
        entry = self._entries.get(nsd_id)
        if entry is None:
            raise NotFound(f"device {nsd_id} is not served here")
        return await _to_its_end(self._in_lane(entry, function, args))

    async def _in_lane(self, entry: _Entry, function: Callable[..., T], args: tuple[object, ...]) -> T:
        async with entry.lane:
            return await self._threads.call(function, entry.device, *args)


def _to_its_end(work: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Run *work* also when whoever waits for it goes away.

    Klein cancels a handler whose caller has hung up; a thread does not stop for that, so the lane
    must stay taken until it has ended.
    """
    waiting: Deferred[T] = Deferred()

    def pass_on(result: T | Failure) -> None:
        if not waiting.called:
            waiting.callback(result)  # a Failure goes the errbacks' way
        elif isinstance(result, Failure):
            Runtime.log.failure("an operation failed whose caller had gone", result)

    _ = Deferred.fromCoroutine(work).addBoth(pass_on)
    return waiting


def _inode(namespace: str) -> int:
    if not namespaces.exists(namespace):
        raise OSError(errno.ENOENT, f"no network namespace {namespace}")
    return namespaces.path_of(namespace).stat().st_ino


def _where(state: DeviceState) -> dict[str, object]:
    return {"nsd_id": state.nsd_id, "namespace": state.namespace}
