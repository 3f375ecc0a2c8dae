"""A caller from outside: oslo.messaging's own client, as Neutron's plugins use it.

    python tools/oslo_caller.py TRANSPORT_URL_FILE

Reads one call a line, ``{"method", "args"}``, and answers each with one line, ``{"result"}`` or
``{"error"}``.  It knows nothing of this project but topic, exchange and version.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import oslo_messaging
from oslo_config import cfg

TOPIC = "nfp-service-manager"
EXCHANGE = "neutron"
TIMEOUT_SECONDS = 30


def main(url_file: str) -> None:
    """Answer calls until the input ends."""
    oslo_messaging.set_transport_defaults(EXCHANGE)
    cfg.CONF([], project="demo")
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=Path(url_file).read_text().strip())
    target = oslo_messaging.Target(topic=TOPIC, version="1.0")
    client = oslo_messaging.get_rpc_client(transport, target, timeout=TIMEOUT_SECONDS)
    for line in sys.stdin:
        call = json.loads(line)
        answer: dict[str, object]
        try:
            answer = {"result": client.call({}, call["method"], **call["args"])}
        except oslo_messaging.RemoteError as error:
            answer = {"error": f"{error.exc_type}: {error.value}"}
        except oslo_messaging.MessagingException as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    transport.cleanup()


if __name__ == "__main__":
    main(sys.argv[1])
