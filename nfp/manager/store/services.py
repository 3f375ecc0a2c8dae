"""Blueprint resources 1 and 2: NetworkService and NetworkServiceInstance."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from nfp.manager.store.base import Base, Converged, Identity, Json


class NetworkService(Converged, Base):
    """A service chain node made real: the blueprint's attributes, then what the design needs.

    :ivar wanted: the checked wanted state beside the attributes: ``config`` (our own tree),
        ``ports``, ``routes``, ``provider_cidrs``, ``consumer_cidrs``, ``profile``, ``chain_parameters``.
    :ivar stamps: per register the ``[timestamp, unique_id]`` of its last writer (I7).
    :ivar live_key: chain id/node id while it is not being deleted, else null.
    :ivar notice: why the last update was refused, until the next good one.
    :ivar status_revision: rises with each change of status; what a report is about.
    """

    __tablename__ = "network_services"

    id: Mapped[str] = mapped_column(Identity, primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(255), default="")
    description: Mapped[str] = mapped_column(sa.String(1024), default="")
    tenant_id: Mapped[str] = mapped_column(sa.String(64), default="", index=True)
    service_id: Mapped[str] = mapped_column(Identity)
    service_chain_id: Mapped[str | None] = mapped_column(Identity, index=True)
    service_profile_id: Mapped[str | None] = mapped_column(Identity)
    service_config: Mapped[str | None] = mapped_column(sa.Text)
    heat_stack_id: Mapped[str | None] = mapped_column(Identity)
    status: Mapped[str | None] = mapped_column(sa.String(32), index=True)
    status_description: Mapped[str | None] = mapped_column(sa.Text)

    service_type: Mapped[str] = mapped_column(sa.String(64), default="")
    service_vendor: Mapped[str] = mapped_column(sa.String(64), default="")
    wanted: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    stamps: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    live_key: Mapped[str | None] = mapped_column(sa.String(80), unique=True)
    notice: Mapped[str | None] = mapped_column(sa.Text)
    was_active: Mapped[bool] = mapped_column(sa.Boolean, default=False)
    status_revision: Mapped[int] = mapped_column(sa.BigInteger, default=1)
    reported_revision: Mapped[int] = mapped_column(sa.BigInteger, default=0)


class NetworkServiceInstance(Base):
    """One instance of a network service on one device: the binding between the two.

    :ivar wanted: what the service handed to the device: ``{"spec": …}`` and, once known, ``digest``.
    :ivar unbinding: the service wants it gone; the device takes it off and removes the row.
    :ivar observed: what the device reported: ``digest``, ``outcome``, ``reason``, ``order``, ``told_*``.
    """

    __tablename__ = "network_service_instances"

    id: Mapped[str] = mapped_column(Identity, primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(255), default="")
    tenant_id: Mapped[str] = mapped_column(sa.String(64), default="")
    description: Mapped[str] = mapped_column(sa.String(1024), default="")
    network_service_id: Mapped[str] = mapped_column(
        Identity, sa.ForeignKey("network_services.id"), index=True
    )
    ha_state: Mapped[str] = mapped_column(sa.String(32), default="")
    nsd_id: Mapped[str] = mapped_column(Identity, sa.ForeignKey("network_service_devices.id"), index=True)
    status: Mapped[str | None] = mapped_column(sa.String(32))

    wanted: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    unbinding: Mapped[bool] = mapped_column(sa.Boolean, default=False)
    observed: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)


class InstancePort(Base):
    """``port_info`` of an instance: a list of PortInfo ids, in order."""

    __tablename__ = "network_service_instance_ports"

    instance_id: Mapped[str] = mapped_column(
        Identity, sa.ForeignKey("network_service_instances.id"), primary_key=True
    )
    port_id: Mapped[str] = mapped_column(
        Identity, sa.ForeignKey("port_infos.id"), primary_key=True, index=True
    )
    position: Mapped[int] = mapped_column(sa.Integer)
