"""Where the broker is: an oslo.messaging transport URL."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from nfp.model.errors import Invalid
from nfp.model.secret import Secret

DEFAULT_PORT = 5672
SCHEMES = ("rabbit", "amqp", "kombu")


@dataclass(frozen=True)
class BrokerURL:
    """``rabbit://user:password@host:port[,user:password@host:port…]/vhost``, taken apart.

    :ivar hosts: (name or address, port) of each node, in the order written.
    :ivar vhost: the virtual host; an empty path and a double slash both mean ``/``.
    """

    hosts: tuple[tuple[str, int], ...]
    username: str
    password: Secret
    vhost: str

    @classmethod
    def parse(cls, text: str) -> BrokerURL:
        """Read a transport URL.

        Several hosts are written as oslo.messaging has them, separated by commas; the name and
        password of the first that has one hold for all.

        :raises Invalid: it is not such a URL; the text never repeats the password.
        """
        parts = urlsplit(text.strip())
        if parts.scheme not in SCHEMES:
            raise Invalid("expected rabbit://user:password@host:port/vhost", field="transport_url")
        hosts: list[tuple[str, int]] = []
        username, password = "", ""
        for item in parts.netloc.split(","):
            credentials, _, location = item.rpartition("@")
            if credentials and not username:
                name, _, word = credentials.partition(":")
                username, password = unquote(name), unquote(word)
            hosts.append(_host_and_port(location))
        return cls(tuple(hosts), username or "guest", Secret(password or "guest"), _vhost(parts.path))


def _host_and_port(location: str) -> tuple[str, int]:
    # An IPv6 address stands in brackets, so the last colon outside them begins the port.
    host, colon, port = location.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = location, str(DEFAULT_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise Invalid("expected host:port in every part", field="transport_url")
    return host, int(port)


def _vhost(path: str) -> str:
    return unquote(path[1:]) or "/"
