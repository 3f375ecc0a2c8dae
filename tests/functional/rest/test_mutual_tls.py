"""Mutual TLS over real sockets."""

# ruff: noqa: ASYNC240 -- looks at local files block nobody

from __future__ import annotations

import shutil
import socket
import ssl
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from klein import Klein
from twisted.internet import reactor  # noqa: TID251 -- real sockets are what is tested
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from nfp.model.errors import Transient
from nfp.pki.authority import Authority, read_certificate
from nfp.rest.client import JsonClient
from nfp.rest.dial import Dial, over_tcp, over_unix
from nfp.rest.errors import Forbidden, answer_json, install_errors
from nfp.rest.listening import UnixPath, adopt
from nfp.rest.site import json_site
from nfp.rest.tls import check_peer, client_options, over_tls, peer_names, server_options


class Application:
    app = Klein()
    install_errors(app)

    def __init__(self) -> None:
        self.served = 0

    @app.route("/who")
    async def who(self, request: Any) -> bytes:
        self.served += 1
        allowed = check_peer(request, ["agent.*"])
        return answer_json(request, {"allowed": allowed, "names": peer_names(request.channel.transport)})


class MutualTlsTests(TestCase):
    timeout = 60

    async def setUp(self) -> None:
        self.where = Path(tempfile.mkdtemp(prefix="nfp-tls-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.where)
        self.authority = Authority.create(self.where / "pki")
        self.ca = str(self.authority.ca_path)
        self.server = str(self.authority.issue("configurator.t1", client=False))
        self.client = str(self.authority.issue("agent.h1", server=False))
        self.application = Application()
        self.site = json_site(self.application.app.resource(), reactor)
        self.factory = over_tls(server_options(self.server, self.ca), self.site)
        self.path = UnixPath(str(self.where / "s.sock"))
        self.path.listen(reactor, self.factory)
        self.addCleanup(self.path.stop)

    async def ask(self, certificate: str, name: str = "configurator.t1", ca: str | None = None) -> Any:
        tls = client_options(name, certificate, ca or self.ca)
        return await self.ask_by(over_unix(self.path.path, server_name=name, tls=tls))

    async def ask_by(self, dial: Dial) -> Any:
        client = JsonClient(reactor, dial, timeout=10)
        try:
            return (await client.request("GET", "/who"))[1]
        finally:
            await client.close()

    async def test_both_sides_know_each_other(self) -> None:
        self.assertEqual(await self.ask(self.client), {"allowed": "agent.h1", "names": ["agent.h1"]})

    async def test_a_known_client_of_another_role_is_forbidden(self) -> None:
        other = str(self.authority.issue("device.h1"))
        with self.assertRaises(Forbidden):
            await self.ask(other)

    async def refused(self, *args: Any, **more: Any) -> str:
        with self.assertRaises(Transient) as caught:
            await self.ask(*args, **more)
        self.assertEqual(self.application.served, 0)
        return str(caught.exception)

    async def test_a_client_of_another_authority_is_refused(self) -> None:
        stranger = Authority.create(self.where / "other").issue("agent.h1", server=False)
        await self.refused(str(stranger))

    async def test_a_client_whose_certificate_is_only_a_servers_is_refused(self) -> None:
        await self.refused(str(self.authority.issue("agent.h2", client=False)))

    async def test_a_client_whose_time_is_over_is_refused(self) -> None:
        await self.refused(str(self.authority.issue("agent.h3", life=timedelta(minutes=1))))

    async def test_a_server_of_another_name_is_refused(self) -> None:
        self.assertIn("configurator.t2", await self.refused(self.client, name="configurator.t2"))

    async def test_a_server_of_another_authority_is_refused(self) -> None:
        other = Authority.create(self.where / "other")
        await self.refused(self.client, ca=str(other.ca_path))

    async def test_plain_text_is_refused(self) -> None:
        with self.assertRaises(Transient):
            await self.ask_by(over_unix(self.path.path))
        self.assertEqual(self.application.served, 0)

    async def test_no_certificate_and_old_tls_are_refused(self) -> None:
        def attempt(mine: str | None, newest: ssl.TLSVersion) -> bytes:
            context = ssl.create_default_context(cafile=self.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = newest
            if mine:
                context.load_cert_chain(mine)
            with socket.socket(socket.AF_UNIX) as plain:
                plain.settimeout(10)
                plain.connect(self.path.path)
                with context.wrap_socket(plain, server_hostname="configurator.t1") as secure:
                    secure.sendall(b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    return secure.recv(100)

        for newest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.assertIn(b" 200 ", await deferToThread(attempt, self.client, newest))
            with self.assertRaises(OSError):
                await deferToThread(attempt, None, newest)
        with self.assertRaises(OSError):
            await deferToThread(attempt, self.client, ssl.TLSVersion.TLSv1_1)

    async def test_a_renewed_certificate_is_shown_without_a_new_start(self) -> None:
        tls = client_options("configurator.t1", self.client, self.ca)
        dial = over_unix(self.path.path, server_name="configurator.t1", tls=tls)
        await self.ask_by(dial)
        Path(self.server).unlink()
        self.authority.issue("configurator.t1", client=False)
        fresh = read_certificate(self.server).serial_number
        Path(self.client).unlink()
        self.authority.issue("agent.h1", dns=["agent.renewed"], server=False)
        self.assertEqual((await self.ask_by(dial))["allowed"], "agent.renewed")

        def shown() -> int:
            context = ssl.create_default_context(cafile=self.ca)
            context.load_cert_chain(self.client)
            with socket.socket(socket.AF_UNIX) as plain:
                plain.settimeout(10)
                plain.connect(self.path.path)
                with context.wrap_socket(plain, server_hostname="configurator.t1") as secure:
                    return int(secure.getpeercert()["serialNumber"], 16)

        self.assertEqual(await deferToThread(shown), fresh)

    async def test_files_that_break_leave_the_last_good_ones_in_use(self) -> None:
        Path(self.server).write_text("broken")
        self.assertEqual((await self.ask(self.client))["allowed"], "agent.h1")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_during_a_rollover_both_authorities_are_trusted(self) -> None:
        new = Authority.create(self.where / "new")
        Path(self.ca).write_bytes(Path(self.ca).read_bytes() + new.ca_path.read_bytes())
        moved = str(new.issue("agent.h9", server=False))
        self.assertEqual((await self.ask(moved))["allowed"], "agent.h9")
        self.assertEqual((await self.ask(self.client))["allowed"], "agent.h1")

    async def test_over_tcp_on_a_socket_that_somebody_else_opened(self) -> None:
        opened = socket.create_server(("::1", 0), family=socket.AF_INET6)
        number = opened.getsockname()[1]
        port = adopt(reactor, opened, self.factory)
        self.addCleanup(port.stopListening)
        tls = client_options("configurator.t1", self.client, self.ca)
        dial = over_tcp("::1", number, server_name="configurator.t1", tls=tls)
        self.assertEqual((await self.ask_by(dial))["allowed"], "agent.h1")
        self.assertEqual(opened.fileno(), -1)

    async def test_connections_are_kept(self) -> None:
        tls = client_options("configurator.t1", self.client, self.ca)
        client = JsonClient(reactor, over_unix(self.path.path, server_name="configurator.t1", tls=tls))
        made = []
        build = self.site.buildProtocol
        self.site.buildProtocol = lambda addr: made.append(addr) or build(addr)
        for _ in range(5):
            await client.request("GET", "/who")
        await client.close()
        self.assertEqual(len(made), 1)

    async def test_nobody_there_is_transient(self) -> None:
        with self.assertRaises(Transient):
            await self.ask_by(over_unix(str(self.where / "nobody.sock")))
