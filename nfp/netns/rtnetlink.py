"""A conversation with the kernel about links, addresses and routes of one namespace.

Messages go out many in one datagram, each with an acknowledgement of its own.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from types import TracebackType

from nfp.netns import messages
from nfp.netns.inside import inside
from nfp.netns.messages import KernelRoute, Link, Message, Reply

_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_NETLINK_ROUTE = 0
_BATCH = 200
_RECEIVE = 1 << 18
_DUMP_TRIES = 5


def open_socket(name: str | None, timeout: float, groups: int = 0) -> socket.socket:
    """Make a bound rtnetlink socket of the namespace.

    :param timeout: seconds after which a read that the kernel does not answer fails.
    :param groups: multicast groups to hear, as a bit mask.
    """

    def make() -> socket.socket:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
        made.bind((0, groups))
        return made

    made = inside(name, make)
    made.settimeout(timeout)
    made.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
    made.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    return made


class RtNetlink:
    """One socket inside one namespace; use as a context manager, from one thread at a time.

    :param name: the namespace, ``None`` for that of this process.
    :param timeout: seconds that the kernel may take for any answer.
    """

    def __init__(self, name: str | None, timeout: float = 10.0) -> None:
        self._name = name
        self._sequence = 0
        self._socket = open_socket(name, timeout)

    def __enter__(self) -> RtNetlink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the socket go."""
        self._socket.close()

    def commit(self, batch: Sequence[Message], ignore: Sequence[int] = ()) -> list[Reply]:
        """Send requests in one datagram (many: a few datagrams) and await every acknowledgement.

        The kernel carries out the others also when one fails.

        :param ignore: errno values that count as success.
        :return: the messages that came besides acknowledgements.
        :raises OSError: for the first that failed, saying which.
        """
        answers: list[Reply] = []
        for start in range(0, len(batch), _BATCH):
            answers += self._commit(batch[start : start + _BATCH], ignore)
        return answers

    def _commit(self, batch: Sequence[Message], ignore: Sequence[int]) -> list[Reply]:
        waiting: dict[int, Message] = {}
        datagram = b""
        for message in batch:
            self._sequence += 1
            waiting[self._sequence] = message
            datagram += messages.encode(message, self._sequence)
        self._socket.send(datagram)
        answers: list[Reply] = []
        failed: OSError | None = None
        while waiting:
            for reply in messages.decode(self._socket.recv(_RECEIVE)):
                if reply.sequence not in waiting:
                    continue
                if reply.kind != messages.NLMSG_ERROR:
                    answers.append(reply)
                    continue
                message = waiting.pop(reply.sequence)
                code, text = messages.error_of(reply)
                if code and code not in ignore and failed is None:
                    failed = self._error(code, text, message)
        if failed is not None:
            raise failed
        return answers

    def _error(self, code: int, text: str, message: Message) -> OSError:
        where = f"in namespace {self._name}" if self._name else "on the host"
        why = os.strerror(code)
        return OSError(code, f"{message.what} {where}: {f'{text} ({why})' if text else why}")

    def _dump(self, message: Message, kind: int) -> list[bytes]:
        for _ in range(_DUMP_TRIES):
            found = self._dump_once(message, kind)
            if found is not None:
                return found
        raise OSError(errno.EAGAIN, f"{message.what}: they change faster than they can be read")

    def _dump_once(self, message: Message, kind: int) -> list[bytes] | None:
        """One pass; ``None`` when the kernel says that it was interrupted by a change."""
        self._sequence += 1
        self._socket.send(messages.encode(message, self._sequence))
        found: list[bytes] = []
        whole = True
        for reply in self._replies(self._sequence):
            whole = whole and not reply.flags & messages.NLM_F_DUMP_INTR
            if reply.kind == messages.NLMSG_DONE:
                return found if whole else None
            if reply.kind == messages.NLMSG_ERROR:
                code, text = messages.error_of(reply)
                raise self._error(code, text, message)
            if reply.kind == kind:
                found.append(reply.body)
        raise AssertionError("an endless iterator ended")

    def _replies(self, sequence: int) -> Iterator[Reply]:
        while True:
            for reply in messages.decode(self._socket.recv(_RECEIVE)):
                if reply.sequence == sequence:
                    yield reply

    def links(self) -> list[Link]:
        """All interfaces, without their addresses."""
        return [messages.read_link(body) for body in self._dump(messages.dump_links(), messages.RTM_NEWLINK)]

    def find(self, *names: str) -> dict[str, Link]:
        """Those of the interfaces named that are there, by name; cheaper than a whole list."""
        replies = self.commit([messages.get_link(name) for name in names], ignore=(errno.ENODEV,))
        found = [messages.read_link(reply.body) for reply in replies if reply.kind == messages.RTM_NEWLINK]
        return {link.name: link for link in found}

    def addresses(self) -> dict[int, list[str]]:
        """Addresses by interface index, link-local ones left out."""
        found: dict[int, list[str]] = {}
        for body in self._dump(messages.dump_addresses(), messages.RTM_NEWADDR):
            index, cidr = messages.read_address(body)
            if not cidr.startswith("fe80:"):
                found.setdefault(index, []).append(cidr)
        return found

    def routes(self) -> list[KernelRoute]:
        """Unicast routes of the main table."""
        read = [
            messages.read_route(body) for body in self._dump(messages.dump_routes(), messages.RTM_NEWROUTE)
        ]
        return [route for route in read if route is not None]
