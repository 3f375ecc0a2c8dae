"""Real oslo.messaging, client and server, in a process of its own.

Run as ``python peer.py URL EXCHANGE``.  Each line of input is a command::

    {"number", "do": "serve", "topic", "server"}
    {"number", "do": "call" | "cast" | "fanout", "topic", "server", "method", "args", "version",
     "namespace", "timeout", "monitor", "context"}

and is answered by ``{"number", "result"}`` or ``{"number", "error": {"class", "type", "text"}}``, where
``class`` is what was raised and ``type`` the remote type of a ``RemoteError``.  What its server is asked
appears as ``{"asked": method, "args"}``.  It imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import oslo_messaging
from oslo_config import cfg

writing = threading.Lock()


def say(**line: object) -> None:
    """Write one line."""
    with writing:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


class Endpoint:
    """What the server offers."""

    target = oslo_messaging.Target(version="1.2")

    def echo(self, context: object, **arguments: object) -> object:
        """Give the arguments back."""
        say(asked="echo", args=arguments)
        return arguments

    def nothing(self, context: object) -> None:
        """Give null."""

    def fail(self, context: object, text: str) -> None:
        """Raise."""
        raise ValueError(text)


class Peer:
    """Does what the lines say."""

    def __init__(self, url: str, exchange: str) -> None:
        cfg.CONF([], default_config_files=[])
        oslo_messaging.set_transport_defaults(exchange)
        self.transport = oslo_messaging.get_rpc_transport(cfg.CONF, url)
        self.servers: list[Any] = []

    def serve(self, topic: str, server: str) -> None:
        """Serve a topic."""
        target = oslo_messaging.Target(topic=topic, server=server)
        made = oslo_messaging.get_rpc_server(self.transport, target, [Endpoint()], executor="threading")
        made.start()
        self.servers.append(made)

    def send(self, do: str, command: dict[str, Any]) -> object:
        """Call or cast."""
        target = oslo_messaging.Target(
            topic=command["topic"], version="1.0", namespace=command.get("namespace")
        )
        client = oslo_messaging.get_rpc_client(
            self.transport, target, timeout=command.get("timeout", 20), version_cap=None
        )
        options = {
            "server": command.get("server"),
            "version": command.get("version"),
            "fanout": True if do == "fanout" else None,
            "call_monitor_timeout": command.get("monitor"),
        }
        prepared = client.prepare(**{name: value for name, value in options.items() if value is not None})
        context = command.get("context", {})
        if do == "call":
            return prepared.call(context, command["method"], **command["args"])
        prepared.cast(context, command["method"], **command["args"])
        return None

    def run(self, command: dict[str, Any]) -> None:
        """Do one line."""
        try:
            if command["do"] == "serve":
                result: object = self.serve(command["topic"], command["server"])
            else:
                result = self.send(command["do"], command)
        except Exception as error:  # noqa: BLE001  told to the other side
            kind = getattr(error, "exc_type", None)
            text = getattr(error, "value", None) if kind else str(error)
            say(number=command["number"], error={"class": type(error).__name__, "type": kind, "text": text})
        else:
            say(number=command["number"], result=result)


def main() -> None:
    """Read lines until there are no more."""
    peer = Peer(*sys.argv[1:])
    pool = ThreadPoolExecutor(8)
    say(ready=True)
    for line in sys.stdin:
        pool.submit(peer.run, json.loads(line))
    for server in peer.servers:
        server.stop()


if __name__ == "__main__":
    main()
