"""How RPC is spoken in this deployment; the options are oslo.messaging's own names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oslo_config import cfg

OPTS: Mapping[str, list[Any]] = {
    "DEFAULT": [
        cfg.StrOpt(
            "transport_url",
            secret=True,
            help="Where the broker is: rabbit://user:password@host:port/vhost.",
        ),
        cfg.StrOpt("control_exchange", default="neutron", help="The topic exchange that all share."),
    ],
    "rabbit": [
        cfg.BoolOpt("amqp_durable_queues", default=False, help="As the deployment's services have it."),
        cfg.BoolOpt("rabbit_quorum_queue", default=False, help="As the deployment's services have it."),
        cfg.BoolOpt(
            "rabbit_transient_quorum_queue", default=False, help="As the deployment's services have it."
        ),
        cfg.IntOpt("heartbeat_timeout_threshold", default=60, min=0, help="Seconds; 0 for no heartbeat."),
        cfg.BoolOpt("own_queues_durable", default=True, help="Whether our own topics outlive the broker."),
    ],
}
"""Options by group, for :func:`nfp.daemon.settings.load`."""


@dataclass(frozen=True)
class RpcOptions:
    """The deployment's choices.

    :ivar exchange: the control exchange.
    :ivar durable_queues: ``amqp_durable_queues``: the exchange and the deployment's topics are durable.
    :ivar quorum: ``rabbit_quorum_queue``: durable topics are quorum queues.
    :ivar transient_quorum: ``rabbit_transient_quorum_queue``: so are fanout and reply queues.
    :ivar heartbeat: seconds, 0 for none.
    :ivar own_queues_durable: whether our own topics are durable whatever the deployment's are.
    :ivar connect_timeout: seconds for a connection and its login.
    :ivar longest_retry: seconds between attempts at most, jitter comes on top.
    """

    exchange: str = "neutron"
    durable_queues: bool = False
    quorum: bool = False
    transient_quorum: bool = False
    heartbeat: int = 60
    own_queues_durable: bool = True
    connect_timeout: float = 10.0
    longest_retry: float = 15.0

    @classmethod
    def of(cls, conf: Any) -> RpcOptions:
        """Take them from loaded configuration that has :data:`OPTS`."""
        return cls(
            exchange=conf.control_exchange,
            durable_queues=conf.rabbit.amqp_durable_queues,
            quorum=conf.rabbit.rabbit_quorum_queue,
            transient_quorum=conf.rabbit.rabbit_transient_quorum_queue,
            heartbeat=conf.rabbit.heartbeat_timeout_threshold,
            own_queues_durable=conf.rabbit.own_queues_durable,
        )

    @property
    def durable_exchange(self) -> bool:
        """Whether the deployment's services declare the control exchange durable."""
        return self.durable_queues or self.quorum
