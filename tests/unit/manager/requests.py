"""Requests and a store in memory, for tests."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nfp.manager.registers import Stamp
from nfp.manager.store.accept import Message
from nfp.manager.store.engine import make_engine
from nfp.manager.store.tables import Base

SERVICE_ID = "11111111-1111-4111-8111-111111111111"
CHAIN_ID = "22222222-2222-4222-8222-222222222222"
NODE_ID = "33333333-3333-4333-8333-333333333333"


def engine_in_memory() -> sa.Engine:
    """A fresh store."""
    engine = make_engine("sqlite://")
    Base.metadata.create_all(engine)
    return engine


def side(name: str, network: str, mac: str, address: str, cidr: str, gateway: str) -> dict[str, Any]:
    """One side of a gateway, as GBP writes it."""
    return {
        "port": [
            {
                "id": f"port-{name}",
                "network_id": network,
                "mac_address": mac,
                "fixed_ips": [{"subnet_id": f"subnet-{name}", "ip_address": address}],
            }
        ],
        "subnet": {"id": f"subnet-{name}", "cidr": cidr, "gateway_ip": gateway},
        "port_model": "gbp_policy_target",
        "port_classification": name,
    }


def network_service(port: int = 80, **changes: Any) -> dict[str, Any]:
    """A firewall that lets one port through."""
    return {
        "tenant_id": "tenant",
        "service_id": NODE_ID,
        "service_chain_id": CHAIN_ID,
        "service_profile": {
            "service_type": "FIREWALL",
            "service_flavor": "service_vendor=vyos,device_type=nova",
        },
        "service_config": firewall(port),
        "provider": side("provider", "net-p", "fa:16:3e:00:00:01", "10.0.0.1", "10.0.0.0/24", "10.0.0.1"),
        "consumer": side("consumer", "net-c", "fa:16:3e:00:00:02", "10.0.1.7", "10.0.1.0/28", "10.0.1.1"),
        **changes,
    }


def firewall(port: int) -> dict[str, Any]:
    """A configuration that lets one port through."""
    return {"firewall": {"rules": [{"protocol": "tcp", "destination_port": port, "action": "allow"}]}}


def message(number: int, *, is_call: bool = True) -> Message:
    """The envelope of the message sent at second *number*."""
    return Message(
        f"m{number}", Stamp.of(f"2026-01-01 00:00:{number:02}", f"m{number}"), is_call, {"*": "nftables"}
    )
