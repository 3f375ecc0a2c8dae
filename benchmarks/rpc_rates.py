"""Calls and durable casts per second drained from a full queue: our server beside oslo.messaging's.

Run it with ``python -m benchmarks.rpc_rates [--messages N] [--rounds N]``.  Each server runs as a
process of its own against a private RabbitMQ node; the queue is filled beforehand, replies are
caught by a queue and counted.  A round is a call run and a cast run of each; the servers alternate
within a round, and the median of the rounds is printed.

Reusable parts: :func:`fill` puts requests into a topic's queue, :func:`drained` waits until it is
empty and everything is acknowledged, :class:`Bench` does both around any server process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.internet import defer, task

from nfp.rpc import envelope
from nfp.rpc.amqp.interfaces import IChannel
from nfp.rpc.connection import RpcConnection
from nfp.rpc.envelope import AnswerTo
from nfp.rpc.options import RpcOptions
from nfp.rpc.topology import Topology
from nfp.rpc.url import BrokerURL
from tests.functional.broker import Broker

EXCHANGE = "bench"
ROOT = Path(__file__).resolve().parent.parent
ARGUMENTS: Mapping[str, object] = {"network_function": {"id": "0" * 36, "description": "x" * 200}}
ANSWER: Mapping[str, object] = {"id": "nf-1", "status": "ACTIVE"}
LIMIT = 120.0


@dataclass(frozen=True)
class Rate:
    """What one run gave.

    :ivar cpu: microseconds of the server's processor time per message.
    """

    per_second: float
    cpu: float


async def fill(
    channel: IChannel,
    topic: str,
    count: int,
    *,
    method: str = "create_network_function",
    args: Callable[[int], Mapping[str, object]] = lambda number: ARGUMENTS,
    reply_queue: str | None = None,
) -> None:
    """Put *count* requests into the queue of *topic*; calls if there is a *reply_queue*.

    :param channel: in confirm mode.
    """
    sent = []
    for number in range(count):
        answer_to = None if reply_queue is None else AnswerTo(uuid4().hex, reply_queue, None)
        body = envelope.write_request(
            method, args(number), context={"request_id": f"req-{number}"}, answer_to=answer_to
        )
        sent.append(channel.publish_confirmed("", topic, body, envelope.PROPERTIES))
        if len(sent) >= 500:
            await defer.gatherResults(sent)
            sent.clear()
    await defer.gatherResults(sent)


async def drained(reactor: Any, counts: Callable[[], Awaitable[int]], wanted: int) -> None:
    """Wait until *counts* gives *wanted*.

    :raises TimeoutError: it does not within two minutes.
    """
    end = reactor.seconds() + LIMIT
    while await counts() != wanted:
        if reactor.seconds() > end:
            raise TimeoutError(f"still {await counts()} messages, not {wanted}")
        await task.deferLater(reactor, 0.005)


class Bench:
    """Runs server processes over full queues.

    :param command: starts a server of a topic; it gets the broker's address, the topic and how many
        messages it will see, and exits by itself after as many.
    """

    def __init__(self, reactor: Any, broker: Broker) -> None:
        self._reactor = reactor
        self._address = broker.address
        options = RpcOptions(exchange=EXCHANGE, durable_queues=True)
        self._connection = RpcConnection(reactor, BrokerURL.parse(broker.address), options)

    async def start(self) -> None:
        """Connect."""
        self._connection.startService()
        await self._connection.when_connected()

    async def stop(self) -> None:
        """Disconnect."""
        await self._connection.stopService()

    async def run(self, command: list[str], count: int, *, calls: bool) -> Rate:
        """Fill a topic, start *command* on it, and measure until the last message is dealt with.

        The clock runs from the server's start, imports done, to the last message dealt with, as its
        process reports it.  Connecting and declaring is in it: the first message taken would be too
        late, oslo.messaging may have read thousands by then.
        """
        topic = f"bench-{uuid4().hex[:8]}"
        replies = f"reply_{uuid4().hex}"
        session = self._connection.session
        assert session is not None
        topology = Topology(session)
        await topology.exchange(EXCHANGE, "topic", durable=True)
        await topology.queue(topic, durable=True)
        await topology.bind(topic, EXCHANGE, topic)
        await topology.transient(replies, quorum=False)
        await topology.close()
        channel = await session.open_channel()
        await channel.confirm_mode()
        await fill(channel, topic, count, reply_queue=replies if calls else None)
        process = subprocess.Popen(  # noqa: ASYNC220  it only starts
            [*command, self._address, topic, str(count)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            while process.poll() is None:
                await task.deferLater(self._reactor, 0.05)
            report = json.loads(process.stdout.read().splitlines()[-1])
            if calls:

                async def answered() -> int:
                    return await channel.declare_queue(replies, durable=False, passive=True)

                await drained(self._reactor, answered, count)
        finally:
            if process.poll() is None:
                process.kill()
            await channel.delete_queue(topic)
            await channel.delete_queue(replies)
            await channel.close()
        return Rate(count / report["seconds"], report["cpu"] / count * 1e6)


def ours(reactor: Any, address: str, topic: str, count: int) -> Coroutine[Any, Any, None]:
    """The server process: ours, answering a dict at once."""
    from nfp.rpc.server import RpcServer

    class Seen:
        number = 0
        started = cpu = 0.0

    async def dispatch(request: envelope.Request) -> object:
        Seen.number += 1
        if Seen.number == count:
            reactor.callLater(0, finish)
        return ANSWER

    done: defer.Deferred[None] = defer.Deferred()

    def finish() -> None:
        report(time.perf_counter() - Seen.started, processor_time() - Seen.cpu)
        done.callback(None)

    async def serve() -> None:
        connection = RpcConnection(
            reactor, BrokerURL.parse(address), RpcOptions(exchange=EXCHANGE, durable_queues=True)
        )
        server = RpcServer(connection, topic, "bench", dispatch, durable=True, prefetch=500)
        Seen.started, Seen.cpu = time.perf_counter(), processor_time()
        connection.startService()
        server.startService()
        await done
        await server.stopService()
        await connection.stopService()

    return serve()


def oslo(
    address: str,
    topic: str,
    count: int,
    *,
    method: str = "create_network_function",
    answer: object = ANSWER,
) -> None:
    """The server process: oslo.messaging's threading server, answering the same."""
    import threading

    import oslo_messaging
    from oslo_config import cfg

    done = threading.Event()
    lock = threading.Lock()

    class Endpoint:
        number = 0

    def serve(self: object, ctxt: object, **args: object) -> object:
        with lock:
            Endpoint.number += 1
            if Endpoint.number == count:
                done.set()
        return answer

    setattr(Endpoint, method, serve)
    conf = cfg.CONF  # with a configuration of its own it drops every message in silence
    conf([])
    oslo_messaging.set_transport_defaults(EXCHANGE)
    transport = oslo_messaging.get_rpc_transport(conf, address)
    conf.set_override("amqp_durable_queues", True, "oslo_messaging_rabbit")
    server = oslo_messaging.get_rpc_server(
        transport,
        oslo_messaging.Target(topic=topic, server="bench", version="1.0"),
        [Endpoint()],
        executor="threading",
    )
    started, cpu = time.perf_counter(), processor_time()
    server.start()
    done.wait()
    report(time.perf_counter() - started, processor_time() - cpu)
    server.stop()
    server.wait()


def processor_time() -> float:
    """Seconds of processor time that this process has had."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def report(seconds: float, cpu: float) -> None:
    """Tell the parent."""
    print(json.dumps({"seconds": seconds, "cpu": cpu}), flush=True)


async def compare(reactor: Any, messages: int, rounds: int) -> None:
    """Run both, alternating, and print medians and ratios."""
    broker = Broker()
    broker.start()
    bench = Bench(reactor, broker)
    found: dict[tuple[str, str], list[Rate]] = {}
    try:
        await bench.start()
        for _ in range(rounds):
            for kind in ("calls", "casts"):
                for who in ("ours", "oslo.messaging"):
                    command = [sys.executable, "-m", "benchmarks.rpc_rates", "--serve", who]
                    rate = await bench.run(command, messages, calls=kind == "calls")
                    found.setdefault((kind, who), []).append(rate)
        await bench.stop()
    finally:
        broker.close()
    for kind in ("calls", "casts"):
        median = {}
        for who in ("ours", "oslo.messaging"):
            rates = found[kind, who]
            median[who] = statistics.median(rate.per_second for rate in rates)
            cpu = statistics.median(rate.cpu for rate in rates)
            spread = f"{min(r.per_second for r in rates):.0f}-{max(r.per_second for r in rates):.0f}"
            print(f"{kind} {who:15} {median[who]:8.0f}/s ({spread}), {cpu:6.0f} us of processor each")
        print(f"{kind} ratio {median['ours'] / median['oslo.messaging']:.2f}")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("BENCH_ROUNDS", "3")))
    parser.add_argument("--serve", choices=("ours", "oslo.messaging"))
    parser.add_argument("rest", nargs="*")
    options = parser.parse_args()
    if options.serve == "oslo.messaging":
        address, topic, count = options.rest
        oslo(address, topic, int(count))
    elif options.serve:
        address, topic, count = options.rest
        task.react(lambda reactor: defer.ensureDeferred(ours(reactor, address, topic, int(count))))
    else:
        task.react(lambda reactor: defer.ensureDeferred(compare(reactor, options.messages, options.rounds)))


if __name__ == "__main__":
    main()
