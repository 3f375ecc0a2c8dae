"""Tables of the embedded network directory: ports and subnets seen in requests or attached by hand."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from nfp.manager.store.base import Base, Json


class DirectoryPortRow(Base):
    """A port by its id.

    :ivar attached: told by hand, not seen in a request: it stays when no service names it any more.
    """

    __tablename__ = "directory_ports"

    id: Mapped[str] = mapped_column(sa.String(255), primary_key=True)
    network_id: Mapped[str] = mapped_column(sa.String(255))
    mac_address: Mapped[str] = mapped_column(sa.String(64))
    addresses: Mapped[list[str]] = mapped_column(Json, default=list)
    subnet_id: Mapped[str | None] = mapped_column(sa.String(255))
    attached: Mapped[bool] = mapped_column(sa.Boolean, default=False)


class DirectorySubnetRow(Base):
    """A subnet by its id; ``attached`` as for a port."""

    __tablename__ = "directory_subnets"

    id: Mapped[str] = mapped_column(sa.String(255), primary_key=True)
    network_id: Mapped[str] = mapped_column(sa.String(255))
    cidr: Mapped[str] = mapped_column(sa.String(64))
    gateway_ip: Mapped[str | None] = mapped_column(sa.String(64))
    attached: Mapped[bool] = mapped_column(sa.Boolean, default=False)
