"""GBP's side of the wire, with oslo.messaging's own client and server, in a process of its own.

    python oslo_peer.py TRANSPORT_URL_FILE

Each line of its input is a request of the manager: ``{"number", "kind": "call" | "cast", "method",
"args"}``, with ``version``, ``namespace``, ``timeout`` and ``request_id`` if wanted.  Each line of its
output is ``{"number", "result"}``, ``{"number", "error": {"kind", "text"}}``, or
``{"notification": {...}}``: what the manager told all node drivers.  It knows nothing of this project.
"""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import oslo_messaging
from oslo_config import cfg

EXCHANGE = "neutron"
MANAGER, NODE_DRIVER = "nfp-service-manager", "nfp-node-driver"
TIMEOUT_SECONDS = 30
CALLS_AT_ONCE = 8

_output = threading.Lock()


def say(**line: object) -> None:
    """Write one line."""
    with _output:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


class NodeDriver:
    """The endpoint that hears of states."""

    target = oslo_messaging.Target(version="1.0")

    def network_service_status_notification(self, context: object, **status: object) -> None:
        """Pass it on."""
        say(notification=status)


class Peer:
    """The client."""

    def __init__(self, transport: Any) -> None:
        target = oslo_messaging.Target(topic=MANAGER, version="1.0")
        self._client = oslo_messaging.get_rpc_client(transport, target, timeout=TIMEOUT_SECONDS)

    def ask(self, request: dict[str, Any]) -> None:
        """Do one request and say what came of it."""
        chosen = {name: request[name] for name in ("version", "namespace", "timeout") if name in request}
        client = self._client.prepare(**chosen)
        context = {"request_id": request["request_id"]} if "request_id" in request else {}
        do = client.call if request["kind"] == "call" else client.cast
        try:
            say(number=request["number"], result=do(context, request["method"], **request["args"]))
        except oslo_messaging.RemoteError as error:
            say(number=request["number"], error={"kind": error.exc_type, "text": error.value})
        except Exception as error:  # noqa: BLE001 - the test decides what it means
            say(number=request["number"], error={"kind": type(error).__name__, "text": str(error)})


def main(url_file: str) -> None:
    """Serve requests until the input ends."""
    cfg.CONF([], project="oslo-peer")
    oslo_messaging.set_transport_defaults(EXCHANGE)
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=Path(url_file).read_text().strip())
    hearing = oslo_messaging.Target(topic=NODE_DRIVER, server="peer")
    server = oslo_messaging.get_rpc_server(transport, hearing, [NodeDriver()], executor="threading")
    server.start()
    peer = Peer(transport)
    say(ready=True)
    with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
        for line in sys.stdin:
            request = json.loads(line)
            if request["kind"] == "call":
                pool.submit(peer.ask, request)
            else:
                peer.ask(request)  # casts keep their order
    server.stop()
    server.wait()
    transport.cleanup()


if __name__ == "__main__":
    main(sys.argv[1])
