"""Blueprint resource 5: NetworkServiceDevice."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from nfp.manager.store.base import Base, Converged, Identity, Json


class NetworkServiceDevice(Converged, Base):
    """The device that renders instances: the blueprint's attributes, then what the design needs.

    :ivar driver: name of its lifecycle driver.
    :ivar configurator: name of the service tenant's configurator.
    :ivar sharing_key: equal keys mean one device; unique among live devices, null once wanted absent.
    :ivar observed: facts from outside, see :mod:`nfp.manager.plan.device`.
    :ivar observed_boot: boot id of the configurator whose notifications were stored last.
    :ivar observed_sequence: the highest sequence stored of that boot.
    """

    __tablename__ = "network_service_devices"

    id: Mapped[str] = mapped_column(Identity, primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(255), default="")
    tenant_id: Mapped[str] = mapped_column(sa.String(64), default="", index=True)
    description: Mapped[str] = mapped_column(sa.String(1024), default="")
    mgmt_port_id: Mapped[str] = mapped_column(Identity, sa.ForeignKey("port_infos.id"))
    monitoring_port_id: Mapped[str | None] = mapped_column(Identity, sa.ForeignKey("port_infos.id"))
    monitoring_port_network: Mapped[str | None] = mapped_column(Identity, sa.ForeignKey("network_infos.id"))
    service_vendor: Mapped[str | None] = mapped_column(sa.String(64))
    status: Mapped[str | None] = mapped_column(sa.String(32), index=True)

    status_description: Mapped[str | None] = mapped_column(sa.Text)
    driver: Mapped[str] = mapped_column(sa.String(64), default="")
    configurator: Mapped[str] = mapped_column(sa.String(255), default="")
    sharing_key: Mapped[str | None] = mapped_column(sa.String(255), unique=True)
    service_types: Mapped[list[str]] = mapped_column(Json, default=list)
    backend_id: Mapped[str | None] = mapped_column(sa.String(255))
    management_address: Mapped[str | None] = mapped_column(sa.String(255))
    observed: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    observed_boot: Mapped[str | None] = mapped_column(sa.String(64))
    observed_sequence: Mapped[int] = mapped_column(sa.BigInteger, default=0)
