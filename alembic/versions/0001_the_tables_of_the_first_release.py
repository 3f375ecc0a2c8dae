"""The tables of the first release"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "accepted_messages",
        sa.Column("unique_id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("object_id", sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint("unique_id", name=op.f("pk_accepted_messages")),
    )
    op.create_index(op.f("ix_accepted_messages_at"), "accepted_messages", ["at"], unique=False)
    op.create_table(
        "agents",
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("reported_at", sa.Double(), nullable=False),
        sa.Column("configurators", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("lease_owner", sa.String(length=255), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("host", name=op.f("pk_agents")),
    )
    op.create_table(
        "directory_ports",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("network_id", sa.String(length=255), nullable=False),
        sa.Column("mac_address", sa.String(length=64), nullable=False),
        sa.Column("addresses", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("subnet_id", sa.String(length=255), nullable=True),
        sa.Column("attached", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_directory_ports")),
    )
    op.create_table(
        "directory_subnets",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("network_id", sa.String(length=255), nullable=False),
        sa.Column("cidr", sa.String(length=64), nullable=False),
        sa.Column("gateway_ip", sa.String(length=64), nullable=True),
        sa.Column("attached", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_directory_subnets")),
    )
    op.create_table(
        "early_messages",
        sa.Column("unique_id", sa.String(length=64), nullable=False),
        sa.Column("object_id", sa.String(length=36), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("stamp", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("changes", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("unique_id", name=op.f("pk_early_messages")),
    )
    op.create_index(op.f("ix_early_messages_at"), "early_messages", ["at"], unique=False)
    op.create_index(op.f("ix_early_messages_object_id"), "early_messages", ["object_id"], unique=False)
    op.create_table(
        "history",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("object_id", sa.String(length=36), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("event", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_history")),
    )
    op.create_index(op.f("ix_history_at"), "history", ["at"], unique=False)
    op.create_index(op.f("ix_history_object_id"), "history", ["object_id"], unique=False)
    op.create_table(
        "manager_hosts",
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("host", name=op.f("pk_manager_hosts")),
    )
    op.create_table(
        "network_infos",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("network_policy", sa.String(length=32), nullable=False),
        sa.Column("backend_id", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_network_infos")),
    )
    op.create_table(
        "network_services",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=1024), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("service_id", sa.String(length=36), nullable=False),
        sa.Column("service_chain_id", sa.String(length=36), nullable=True),
        sa.Column("service_profile_id", sa.String(length=36), nullable=True),
        sa.Column("service_config", sa.Text(), nullable=True),
        sa.Column("heat_stack_id", sa.String(length=36), nullable=True),
        sa.Column("status", sa.String(length=32), nullable=True),
        sa.Column("status_description", sa.Text(), nullable=True),
        sa.Column("service_type", sa.String(length=64), nullable=False),
        sa.Column("service_vendor", sa.String(length=64), nullable=False),
        sa.Column("wanted", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("stamps", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("live_key", sa.String(length=80), nullable=True),
        sa.Column("notice", sa.Text(), nullable=True),
        sa.Column("was_active", sa.Boolean(), nullable=False),
        sa.Column("status_revision", sa.BigInteger(), nullable=False),
        sa.Column("reported_revision", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("converged_revision", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.String(length=255), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("uncertain_below", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.Text(), nullable=True),
        sa.Column("wanted_absent", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("waiting_for", sa.Text(), nullable=True),
        sa.Column("wake_at", sa.Double(), nullable=True),
        sa.Column("request_id", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_network_services")),
        sa.UniqueConstraint("live_key", name=op.f("uq_network_services_live_key")),
    )
    op.create_index(
        op.f("ix_network_services_service_chain_id"), "network_services", ["service_chain_id"], unique=False
    )
    op.create_index(op.f("ix_network_services_status"), "network_services", ["status"], unique=False)
    op.create_index(op.f("ix_network_services_tenant_id"), "network_services", ["tenant_id"], unique=False)
    op.create_table(
        "port_infos",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("port_policy", sa.String(length=32), nullable=False),
        sa.Column("port_classification", sa.String(length=32), nullable=False),
        sa.Column("port_type", sa.String(length=32), nullable=False),
        sa.Column("owner", sa.String(length=8), nullable=False),
        sa.Column("backend_id", sa.String(length=255), nullable=True),
        sa.Column("network_id", sa.String(length=255), nullable=True),
        sa.Column("mac_address", sa.String(length=64), nullable=True),
        sa.Column("addresses", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_port_infos")),
    )
    op.create_index(op.f("ix_port_infos_backend_id"), "port_infos", ["backend_id"], unique=False)
    op.create_table(
        "tombstones",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tombstones")),
    )
    op.create_index(op.f("ix_tombstones_at"), "tombstones", ["at"], unique=False)
    op.create_table(
        "network_service_devices",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("description", sa.String(length=1024), nullable=False),
        sa.Column("mgmt_port_id", sa.String(length=36), nullable=False),
        sa.Column("monitoring_port_id", sa.String(length=36), nullable=True),
        sa.Column("monitoring_port_network", sa.String(length=36), nullable=True),
        sa.Column("service_vendor", sa.String(length=64), nullable=True),
        sa.Column("status", sa.String(length=32), nullable=True),
        sa.Column("status_description", sa.Text(), nullable=True),
        sa.Column("driver", sa.String(length=64), nullable=False),
        sa.Column("configurator", sa.String(length=255), nullable=False),
        sa.Column("sharing_key", sa.String(length=255), nullable=True),
        sa.Column("service_types", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("backend_id", sa.String(length=255), nullable=True),
        sa.Column("management_address", sa.String(length=255), nullable=True),
        sa.Column("observed", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("observed_boot", sa.String(length=64), nullable=True),
        sa.Column("observed_sequence", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("converged_revision", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.String(length=255), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("uncertain_below", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.Text(), nullable=True),
        sa.Column("wanted_absent", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("waiting_for", sa.Text(), nullable=True),
        sa.Column("wake_at", sa.Double(), nullable=True),
        sa.Column("request_id", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["mgmt_port_id"], ["port_infos.id"], name=op.f("fk_network_service_devices_mgmt_port_id")
        ),
        sa.ForeignKeyConstraint(
            ["monitoring_port_id"],
            ["port_infos.id"],
            name=op.f("fk_network_service_devices_monitoring_port_id"),
        ),
        sa.ForeignKeyConstraint(
            ["monitoring_port_network"],
            ["network_infos.id"],
            name=op.f("fk_network_service_devices_monitoring_port_network"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_network_service_devices")),
        sa.UniqueConstraint("sharing_key", name=op.f("uq_network_service_devices_sharing_key")),
    )
    op.create_index(
        op.f("ix_network_service_devices_status"), "network_service_devices", ["status"], unique=False
    )
    op.create_index(
        op.f("ix_network_service_devices_tenant_id"), "network_service_devices", ["tenant_id"], unique=False
    )
    op.create_table(
        "network_service_instances",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("description", sa.String(length=1024), nullable=False),
        sa.Column("network_service_id", sa.String(length=36), nullable=False),
        sa.Column("ha_state", sa.String(length=32), nullable=False),
        sa.Column("nsd_id", sa.String(length=36), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=True),
        sa.Column("wanted", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("unbinding", sa.Boolean(), nullable=False),
        sa.Column("observed", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["network_service_id"],
            ["network_services.id"],
            name=op.f("fk_network_service_instances_network_service_id"),
        ),
        sa.ForeignKeyConstraint(
            ["nsd_id"], ["network_service_devices.id"], name=op.f("fk_network_service_instances_nsd_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_network_service_instances")),
    )
    op.create_index(
        op.f("ix_network_service_instances_network_service_id"),
        "network_service_instances",
        ["network_service_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_network_service_instances_nsd_id"), "network_service_instances", ["nsd_id"], unique=False
    )
    op.create_table(
        "network_service_instance_ports",
        sa.Column("instance_id", sa.String(length=36), nullable=False),
        sa.Column("port_id", sa.String(length=36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"],
            ["network_service_instances.id"],
            name=op.f("fk_network_service_instance_ports_instance_id"),
        ),
        sa.ForeignKeyConstraint(
            ["port_id"], ["port_infos.id"], name=op.f("fk_network_service_instance_ports_port_id")
        ),
        sa.PrimaryKeyConstraint("instance_id", "port_id", name=op.f("pk_network_service_instance_ports")),
    )
    op.create_index(
        op.f("ix_network_service_instance_ports_port_id"),
        "network_service_instance_ports",
        ["port_id"],
        unique=False,
    )


def downgrade() -> None:
    """Go back to the one before."""
    op.drop_table("network_service_instance_ports")
    op.drop_table("network_service_instances")
    op.drop_table("network_service_devices")
    op.drop_table("tombstones")
    op.drop_table("port_infos")
    op.drop_table("network_services")
    op.drop_table("network_infos")
    op.drop_table("manager_hosts")
    op.drop_table("history")
    op.drop_table("early_messages")
    op.drop_table("directory_subnets")
    op.drop_table("directory_ports")
    op.drop_table("agents")
    op.drop_table("accepted_messages")
