"""Blueprint resources 3 and 4: PortInfo and NetworkInfo."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from nfp.manager.store.base import Base, Identity, Json

PORT_POLICIES = ("neutron_port", "gbp_policy_target")
PORT_CLASSIFICATIONS = ("provider", "consumer")
PORT_TYPES = ("active", "standby", "master")
NETWORK_POLICIES = ("neutron_network", "gbp_group")


class NetworkInfo(Base):
    """A network that a device has a port on."""

    __tablename__ = "network_infos"

    id: Mapped[str] = mapped_column(Identity, primary_key=True)
    network_policy: Mapped[str] = mapped_column(sa.String(32), default="")
    backend_id: Mapped[str | None] = mapped_column(sa.String(255))


class PortInfo(Base):
    """A port of a network service instance or of a device.

    ``backend_id`` is Neutron's or GBP's id.  ``owner`` is ``given`` for ports that GBP or Neutron made
    (plugged and unplugged, never deleted: I9), ``own`` for those that a lifecycle driver makes.
    """

    __tablename__ = "port_infos"

    id: Mapped[str] = mapped_column(Identity, primary_key=True)
    port_policy: Mapped[str] = mapped_column(sa.String(32), default="")
    port_classification: Mapped[str] = mapped_column(sa.String(32), default="")
    port_type: Mapped[str] = mapped_column(sa.String(32), default="")
    owner: Mapped[str] = mapped_column(sa.String(8), default="given")
    backend_id: Mapped[str | None] = mapped_column(sa.String(255), index=True)
    network_id: Mapped[str | None] = mapped_column(sa.String(255))
    mac_address: Mapped[str | None] = mapped_column(sa.String(64))
    addresses: Mapped[list[str]] = mapped_column(Json, default=list)
