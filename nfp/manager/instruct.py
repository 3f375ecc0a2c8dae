"""Tells the configurator, through its agent, what a device shall be (``contract.md`` sections 3, 4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IReactorTime

from nfp.daemon.journal import request_id
from nfp.manager.interfaces import ILifeCycleDriver
from nfp.manager.plan.told import Told
from nfp.manager.store.snapshots import DeviceView
from nfp.model import requests
from nfp.model.devices import DeviceAddress
from nfp.model.digest import digest
from nfp.model.errors import Invalid, Permanent, Transient

CallAgent = Callable[[str, str, Mapping[str, Any]], Awaitable[Any]]
"""``(host, method, args)``: calls an agent on its own topic."""

RESULT_TIMEOUT = 30.0
"""Seconds that a result may take before the same thing is told again."""

Order = tuple[int, int]

Learn = Callable[[str, str], Awaitable[None]]
"""``(configurator, boot id)``: an answer brought a boot id that the agent has not reported yet."""


@dataclass(frozen=True)
class Instruction:
    """A request to the configurator that is ready to be sent.

    :ivar told: what is recorded before it is.
    """

    operation: str
    host: str
    args: Mapping[str, Any]
    told: Told


class Instructor:
    """Makes requests of a device's wanted state, and sends them.

    :param call: reaches an agent.
    :param learn: told of a configurator's new life, before the request to it is recorded as taken.
    """

    def __init__(self, driver: ILifeCycleDriver, call: CallAgent, learn: Learn, clock: IReactorTime) -> None:
        self._driver = driver
        self._call = call
        self._learn = learn
        self._clock = clock

    async def send(self, instruction: Instruction) -> dict[str, Any]:
        """Hand *instruction* to the configurator.

        :return: in what it was told otherwise than recorded: refused at once, or taken by another life of
            the configurator than was known; mostly nothing.
        :raises nfp.model.errors.NfpError: it was not taken, and may be at another try.
        """
        told = instruction.told
        try:
            answer = await self._call(instruction.host, instruction.operation, instruction.args)
        except (Invalid, Permanent) as error:
            return {"refused": told.key, "refused_about": told.about, "refusal": str(error)}
        if answer["boot_id"] == told.boot:
            return {}
        await self._learn(str(instruction.args["configurator"]), answer["boot_id"])
        return {"boot": answer["boot_id"]}

    async def monitor(self, view: DeviceView, order: Order) -> Instruction:
        """Have the device watched."""
        check = await self._driver.get_nsd_healthcheck_info(view.nsd)
        tree = {
            "interval": check.interval,
            "timeout": check.timeout,
            "fall": check.fall,
            "rise": check.rise,
            "level": check.level,
        }
        items = [{"resource": "healthmonitor", "resource_data": {"monitor": tree}}]
        return await self._make(requests.CREATE_HEALTHMONITOR, view, order, items, key="monitor")

    async def end_monitor(self, view: DeviceView, order: Order) -> Instruction:
        """Have the device watched no more."""
        items = [{"resource": "healthmonitor", "resource_data": {}}]
        return await self._make(requests.DELETE_HEALTHMONITOR, view, order, items, key="ending")

    async def configure(self, view: DeviceView, order: Order, key: str) -> Instruction:
        """Have the device given its addresses and routes."""
        items = await self._driver.get_nsd_config_info(view.nsd, view.interfaces)
        return await self._make(requests.CREATE_NSD_CONFIG, view, order, items, key=key)

    async def clear(self, view: DeviceView, order: Order) -> Instruction:
        """Have addresses and routes taken off the device."""
        items = [{"resource": "interfaces", "resource_data": {}}]
        return await self._make(requests.DELETE_NSD_CONFIG, view, order, items, key="clearing")

    async def serve(self, view: DeviceView, order: Order, instance_id: str, key: str) -> Instruction:
        """Have the device given one service's configuration."""
        spec = view.specs[instance_id]
        items = await self._driver.get_network_service_config_info(spec, view.nsd, view.interfaces)
        about = view.handed[instance_id]["spec_digest"]
        return await self._make(
            requests.CREATE_SERVICE_CONFIG, view, order, items, key=key, about=about, service_id=spec.id
        )

    async def remove(self, view: DeviceView, order: Order, instance_id: str) -> Instruction:
        """Have one service taken off the device."""
        spec = view.specs[instance_id]
        items = [{"resource": spec.service_type.lower(), "resource_data": {}}]
        return await self._make(
            requests.DELETE_SERVICE_CONFIG, view, order, items, key="removal", service_id=spec.id
        )

    async def _make(
        self,
        operation: str,
        view: DeviceView,
        order: Order,
        items: Sequence[Mapping[str, Any]],
        *,
        key: str,
        about: str | None = None,
        service_id: str | None = None,
    ) -> Instruction:
        if view.agent is None:
            raise Transient("no live agent reaches the configurator")
        expects = digest(requests.tree_of(items))
        check = await self._driver.get_nsd_healthcheck_info(view.nsd)
        body = requests.body(
            service_type=view.nsd.service_types[0],
            service_vendor=view.nsd.service_vendor,
            context={
                "network_service_id": service_id,
                "nsd_id": view.nsd.id,
                "order": list(order),
                "digest": expects,
                "operation": operation,
                "request_id": request_id.get(),
            },
            device=DeviceAddress(view.nsd.id, check.address, check.port, check.server_name),
            config=items,
        )
        told = Told(
            key=key,
            about=about,
            expects=expects,
            order=order,
            boot=view.snapshot.boot,
            deadline=self._clock.seconds() + RESULT_TIMEOUT,
        )
        args = {"configurator": view.row["configurator"], "request": body}
        return Instruction(operation, view.agent, args, told)
