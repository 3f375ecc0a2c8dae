"""One device as it is served: what it was told, and what its kernel says.

Blocking; the runtime runs one call at a time for a device, each in a thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from nfp.device import interfaces, ruleset
from nfp.device.nft import Nft, NftError
from nfp.device.store import DeviceState, ServiceState, Store
from nfp.model import firewall
from nfp.model.digest import digest
from nfp.model.errors import Invalid, NotFound, Stale, Transient
from nfp.model.order import Order
from nfp.netns.inside import inside

T = TypeVar("T")

FIREWALL = "firewall"
ACTIVE, DRIFTED, MISSING, UNKNOWN = "active", "drifted", "missing", "unknown"
"""States of a service: as applied; changed by somebody; not in the kernel; an attempt did not end."""

MANAGEMENT_LEVEL, CONFIG_LEVEL, SERVICE_LEVEL = "management", "config", "service"
LEVELS = (MANAGEMENT_LEVEL, CONFIG_LEVEL, SERVICE_LEVEL)


def admit(highest: Order | None, order: Order) -> Order:
    """Let an effect through that is not overtaken (I5); gives the highest order from now on.

    :raises Stale: a higher one was seen.
    """
    if highest is not None and order < highest:
        raise Stale(f"order {list(order)} is below {list(highest)}, the highest seen", field="order")
    return order


class ServedDevice:
    """What can be asked of a device.

    :param state: changed in place, and written before and after each effect: what a crash leaves
        is at worst a state that nobody vouches for.
    """

    def __init__(self, state: DeviceState, store: Store) -> None:
        self.state = state
        self._store = store
        self._kept: Nft | None = None

    def close(self) -> None:
        """Let go of what keeps the namespace alive; the next call may take it up again."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _nft(self) -> Nft:
        """Nftables in the device's namespace."""
        if self._kept is None:
            self._kept = self._calmly(lambda: inside(self.state.namespace, Nft))
        return self._kept

    def configure(self, order: Order, tree: Mapping[str, Any]) -> dict[str, object]:
        """Make interfaces and routes equal to *tree*.

        :return: the digest read back.
        """
        interfaces.check_tree(tree)
        state = self.state
        state.order = admit(state.order, order)
        before = state.tree or interfaces.EMPTY
        state.applied = False
        # Both trees until it is done: a retry after a crash must still clear what the old one had.
        macs = {interface["mac"].lower() for interface in tree["interfaces"]}
        left = [interface for interface in before["interfaces"] if interface["mac"].lower() not in macs]
        state.tree, state.digest = {**tree, "interfaces": [*left, *tree["interfaces"]]}, digest(tree)
        self._store.write(state, durable=False)
        if not self._guarded(list(state.services)):
            self._nft().transaction(ruleset.CLOSED)
        self._calmly(lambda: interfaces.apply(state.namespace, tree, before))
        state.tree, state.applied = tree, True
        self._store.write(state)
        return {"digest": self._config()[0]}

    def clear(self, order: Order) -> dict[str, object]:
        """Take addresses and routes away that a tree gave."""
        state = self.state
        state.order = admit(state.order, order)
        if state.tree is not None:
            before = state.tree
            self._calmly(lambda: interfaces.apply(state.namespace, interfaces.EMPTY, before))
            state.tree, state.digest, state.applied = None, None, False
        self._store.write(state)
        return {"digest": None}

    def read(self) -> dict[str, object]:
        """What the device runs."""
        state = self.state
        found, why = self._config()
        return {
            "digest": found,
            "tree": state.tree if state.applied else None,
            "state": ACTIVE if found else DRIFTED if state.applied else UNKNOWN if state.tree else MISSING,
            "reason": why,
            "order": list(state.order) if state.order is not None else None,
            "services": {name: self._brief(name) for name in sorted(state.services)},
        }

    def _brief(self, service_id: str) -> dict[str, object]:
        found, condition = self._verdict(service_id)
        return {"kind": self.state.services[service_id].kind, "digest": found, "state": condition}

    def _config(self) -> tuple[str | None, str]:
        """The digest of interfaces and routes as they are, or why there is none."""
        state = self.state
        if state.tree is None or not state.applied:
            return None, "not configured"
        tree = state.tree
        wrong = self._calmly(lambda: interfaces.drift(state.namespace, tree))
        return (None, "; ".join(wrong)) if wrong else (state.digest, "")

    def apply(self, service_id: str, order: Order, kind: str, tree: Mapping[str, Any]) -> dict[str, object]:
        """Make a service equal to *tree*.

        :return: the digest read back from the kernel.
        :raises Invalid: the device cannot do that.
        """
        if kind != FIREWALL:
            raise Invalid(f"expected {FIREWALL}, got {kind!r:.80}", field="kind")
        wanted = policy_of(tree)
        state = self.state
        state.order = admit(state.order, order)
        old = state.services.get(service_id)
        named = digest(tree)
        slot = self._slot(service_id)
        state.generation = ruleset.next_generation(state.generation)
        fresh = ServiceState(kind, tree, named, None, slot)
        state.services[service_id] = fresh
        self._store.write(state, durable=False)

        def write(anew: bool, replaces: Mapping[str, Any] | None) -> str:
            return gate + ruleset.script(
                service_id,
                wanted,
                digest=named,
                slot=slot,
                generation=state.generation,
                replaces=replaces,
                management_address=state.address,
                anew=anew,
            )

        others = self._others(service_id)
        gate = ruleset.OPEN if not others or self._guarded(others) else ruleset.CLOSED
        nft, table = self._nft(), ruleset.table_name(service_id)
        _replace(nft, table, old, write)
        listing = nft.listing(table)
        fresh.listing = _hash(listing) if listing is not None else None
        self._store.write(state)
        return {"digest": ruleset.digest_in(listing) if listing is not None else None}

    def _others(self, service_id: str) -> list[str]:
        return [name for name in self.state.services if name != service_id]

    def _guarded(self, services: Sequence[str]) -> bool:
        """Whether there are services, and each is in the kernel to judge what is forwarded."""
        tables = [ruleset.table_name(service_id) for service_id in services]
        return bool(tables) and all(self._nft().listing(table) is not None for table in tables)

    def _slot(self, service_id: str) -> int | None:
        others = {name: one.slot for name, one in self.state.services.items() if name != service_id}
        mine = self.state.services.get(service_id)
        if mine is not None and mine.slot is not None and mine.slot not in others.values():
            return mine.slot
        return ruleset.free_slot(list(others.values()))

    def remove(self, service_id: str, order: Order) -> dict[str, object]:
        """Take a service away; not there is success."""
        state = self.state
        state.order = admit(state.order, order)
        gate = ruleset.OPEN if self._guarded(self._others(service_id)) else ruleset.CLOSED
        self._nft().transaction(gate + ruleset.removal(service_id))
        state.services.pop(service_id, None)
        self._store.write(state)
        return {"digest": None}

    def service(self, service_id: str) -> dict[str, object]:
        """What a service runs, with its counters.

        :raises NotFound: the device was not told of it.
        """
        known = self._known(service_id)
        found, condition = self._verdict(service_id)
        values = self._nft().counters(ruleset.table_name(service_id))
        labels = {one.name: one.label for one in ruleset.counters_of(policy_of(known.tree))}
        return {
            "digest": found,
            "kind": known.kind,
            "tree": known.tree,
            "state": condition,
            "counters": {labels.get(name, name): value for name, value in values.items()},
        }

    def _known(self, service_id: str) -> ServiceState:
        try:
            return self.state.services[service_id]
        except KeyError:
            raise NotFound(f"the device has no service {service_id:.64}") from None

    def _verdict(self, service_id: str) -> tuple[str | None, str]:
        """The digest that the kernel bears, and in which state the service is."""
        known = self._known(service_id)
        if known.listing is None:
            return None, UNKNOWN
        listing = self._nft().listing(ruleset.table_name(service_id))
        if listing is None:
            return None, MISSING
        if _hash(listing) != known.listing:
            return None, DRIFTED
        return ruleset.digest_in(listing), ACTIVE

    def health(self, level: str) -> str:
        """Look whether all is well down to *level*; gives the reason why not, or nothing."""
        if level not in LEVELS:
            raise Invalid(f"expected one of {', '.join(LEVELS)}", field="level")
        if level == MANAGEMENT_LEVEL:
            return ""
        found, why = self._config()
        if found is None:
            return f"interfaces: {why}"
        if level == CONFIG_LEVEL:
            return ""
        verdicts = {name: self._verdict(name)[1] for name in sorted(self.state.services)}
        return "; ".join(f"service {name} is {one}" for name, one in verdicts.items() if one != ACTIVE)

    @staticmethod
    def _calmly(work: Callable[[], T]) -> T:
        """Run *work*; the kernel's refusals are worth another try."""
        try:
            return work()
        except OSError as error:
            raise Transient(error.strerror or str(error)) from error


def policy_of(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """The canonical firewall in a service's tree.

    :raises Invalid: naming the field.
    """
    if "firewall" not in tree:
        raise Invalid("is required", field="tree.firewall")
    found: Mapping[str, Any] = firewall.normalise({"firewall": tree["firewall"]})["firewall"]
    return found


def _replace(
    nft: Nft,
    table: str,
    old: ServiceState | None,
    write: Callable[[bool, Mapping[str, Any] | None], str],
) -> None:
    """Run the transaction: gently when the kernel has what we applied last, else with a fresh table."""
    there = nft.listing(table)
    if there is None:
        nft.transaction(write(False, None))
    elif old is not None and old.listing == _hash(there):
        try:
            nft.transaction(write(False, policy_of(old.tree)))
        except NftError:
            # Somebody changed the table between the look and the transaction.
            nft.transaction(write(True, None))
    else:
        nft.transaction(write(True, None))


def _hash(listing: str) -> str:
    return hashlib.sha256(listing.encode()).hexdigest()
