"""Takes requests: checks them, hands them to the workers, and puts what became of them into the outbox."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeGuard, TypeVar

from twisted.logger import Logger

from nfp.configurator.interfaces import EMITTED, IConfiguratorModule
from nfp.configurator.memory import Memory
from nfp.configurator.modules.answers import refused
from nfp.configurator.modules.generic import HAND_OVER, key_of
from nfp.configurator.outbox import Outbox
from nfp.daemon.inflight import InFlight
from nfp.model.errors import Invalid, NfpError, NotFound, Unavailable
from nfp.model.order import Order
from nfp.model.requests import (
    CREATE_HEALTHMONITOR,
    CREATE_SERVICE_CONFIG,
    DELETE_HEALTHMONITOR,
    DELETE_SERVICE_CONFIG,
    NOTIFICATIONS,
    OPERATIONS,
    device_of,
)
from nfp.model.schemas import check
from nfp.process.interfaces import Event, IModule
from nfp.process.pool import Unheeding, lane_of
from nfp.process.registry import merged, methods_of

Request = Mapping[str, Any]


class Workers(Protocol):
    """What is needed of the pool of workers."""

    def submit(self, event: Event) -> Awaitable[object]:
        """Run *event* in the worker that owns its key."""


W = TypeVar("W", bound=Workers)


class Intake(Unheeding, Generic[W]):
    """The listener's decisions.

    :param modules: what the configurator can do.
    :param workers: makes the pool that does it, given its owner; the result is :attr:`workers`.
    :param count: how many workers it has.
    :param limit: how many requests may be under way or have a result that is not acknowledged.
    """

    log = Logger()

    def __init__(
        self,
        modules: Sequence[IModule],
        workers: Callable[[Unheeding], W],
        count: int,
        outbox: Outbox,
        memory: Memory,
        limit: int,
    ) -> None:
        self._handlers = methods_of(modules)
        self._owners = {name: module for module in modules for name in module.rpc_handlers()}
        self._services = merged(
            "service type",
            ((module, dict.fromkeys(getattr(module, "service_types", ()), module)) for module in modules),
        )
        self._count = count
        self._outbox = outbox
        self._memory = memory
        self._limit = limit
        self._running = InFlight(self.log)
        self._closed = False
        self.workers: W = workers(self)

    @property
    def running(self) -> int:
        """How many requests are accepted and not answered yet."""
        return len(self._running)

    def accept(self, operation: str, request: Request, request_id: str) -> object:
        """Take a request; its result comes as a notification.

        :param request: the body, not checked yet.
        :return: the answer, where the operation is one that the listener answers itself; else ``None``.
        :raises NotFound: no module has that operation.
        :raises Invalid: naming the field.
        :raises nfp.model.errors.Stale: a request with a higher order was seen for that device (I5).
        :raises Unavailable: too much waits.
        """
        handler = self._handlers.get(operation)
        if handler is None:
            raise NotFound(f"there is no operation {operation!r}")
        check(request, handler.schema)
        if handler.answer is not None:
            return handler.answer(request)
        guarded = operation in OPERATIONS
        if guarded:
            self._check_device(request)
        event = Event(
            handler.key(request),
            self._event_name(operation, handler.event, request),
            {"args": request, "envelope": {}},
            {"request_id": request_id},
        )
        if self._closed:
            raise Unavailable("stopping")
        if self._outbox.results + len(self._running) >= self._limit:
            raise Unavailable(f"{self._limit} requests are under way or have a result that nobody fetched")
        if guarded:
            self._remember(operation, request)
        _ = self._running.start(operation, self._run(operation, request, event))
        return None

    def _check_device(self, request: Request) -> None:
        nsd_id = device_of(request).nsd_id
        self._memory.check(nsd_id, Order.of(request["info"]["context"]["order"], "info.context.order"))

    def _remember(self, operation: str, request: Request) -> None:
        nsd_id = device_of(request).nsd_id
        self._memory.saw(nsd_id, Order.of(request["info"]["context"]["order"]))
        if operation == CREATE_HEALTHMONITOR:
            self._memory.watch(nsd_id, request)
        elif operation == DELETE_HEALTHMONITOR:
            self._memory.unwatch(nsd_id)

    def on_emit(self, index: int, name: str, payload: object) -> None:
        """Take what a module in a worker tells unasked."""
        if name == EMITTED and _is_notification(payload):
            self._outbox.append(payload)
        else:
            self.log.error("worker {index} emitted {name}, which nobody expects", index=index, name=name)

    def on_started(self, index: int) -> None:
        """Tell a worker that has just started the monitors of its devices."""
        for request in self._memory.monitors(lambda nsd_id: self._lane(nsd_id) == index):
            event = Event(key_of(request), HAND_OVER, {"args": request, "envelope": {}})
            _ = self._running.start(HAND_OVER, self._hand_over(request, event))

    def close(self) -> None:
        """Accept nothing more."""
        self._closed = True

    def _lane(self, nsd_id: str) -> int:
        return lane_of(f"device:{nsd_id}", self._count)

    def _event_name(self, operation: str, event: str, request: Request) -> str:
        """Check the request by its modules; a service's configuration goes to the module of its type."""
        _check_by(self._owners[operation], operation, request)
        if operation not in (CREATE_SERVICE_CONFIG, DELETE_SERVICE_CONFIG):
            return event
        service_type = request["info"]["service_type"]
        module = self._services.get(service_type)
        if module is None:
            known = ", ".join(sorted(self._services)) or "none"
            raise Invalid(f"expected one of {known}, got {service_type!r}", field="info.service_type")
        _check_by(module, operation, request)
        return f"{event}:{service_type}"

    async def _run(self, operation: str, request: Request, event: Event) -> None:
        try:
            notification: Any = await self.workers.submit(event)
        except NfpError as error:
            if operation not in OPERATIONS:
                raise  # the log has it; nobody has said how such a failure is told
            notification = refused(operation, request, error)
            if operation == CREATE_HEALTHMONITOR:
                self._memory.unwatch(device_of(request).nsd_id, request)
        if _is_notification(notification):
            self._outbox.append(notification)

    async def _hand_over(self, request: Request, event: Event) -> None:
        try:
            await self.workers.submit(event)
        except NfpError as error:
            nsd_id = device_of(request).nsd_id
            self.log.error("device {nsd_id} is watched no more: {reason}", nsd_id=nsd_id, reason=str(error))
            self._memory.unwatch(nsd_id, request)


def _check_by(module: IModule, operation: str, request: Request) -> None:
    if IConfiguratorModule.providedBy(module):
        module.check(operation, request)


def _is_notification(value: Any) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping) and value.get("kind") in NOTIFICATIONS
