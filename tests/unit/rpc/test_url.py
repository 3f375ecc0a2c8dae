"""Transport URLs."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from txamqp.endpoint import AMQEndpoint

from nfp.model.errors import Invalid
from nfp.model.secret import Secret
from nfp.rpc.url import BrokerURL


class BrokerURLTests(SynchronousTestCase):
    """What operators write."""

    def test_whole(self) -> None:
        """User, password, host, port and virtual host, percent-decoded."""
        url = BrokerURL.parse("rabbit://nfp:p%40ss%3A@broker:5673/a%2Fb")
        self.assertEqual(url, BrokerURL((("broker", 5673),), "nfp", Secret("p@ss:"), "a/b"))

    def test_defaults(self) -> None:
        """Port, user and virtual host."""
        for text in ("rabbit://broker", "rabbit://broker/", "rabbit://broker//"):
            self.assertEqual(
                BrokerURL.parse(text), BrokerURL((("broker", 5672),), "guest", Secret("guest"), "/")
            )

    def test_several_hosts(self) -> None:
        """As a cluster is written; IPv6 in brackets."""
        url = BrokerURL.parse("rabbit://u:p@a:1,u:p@b,u:p@[::1]:3/v")
        self.assertEqual(url.hosts, (("a", 1), ("b", 5672), ("::1", 3)))

    def test_refused(self) -> None:
        """And the password is not repeated."""
        for text in (
            "",
            "http://a",
            "rabbit://u:hush@:1/",
            "rabbit://u:hush@a:x/",
            "rabbit://u:hush@a:99999/",
        ):
            error = self.assertRaises(Invalid, BrokerURL.parse, text)
            self.assertNotIn("hush", str(error))

    def test_txamqp_reads_user_and_password_wrongly(self) -> None:
        """Its endpoint keeps the port out and the percent signs in."""
        endpoint = AMQEndpoint.from_uri(None, "amqp://u:p%40ss@broker:5673/v")
        ours = BrokerURL.parse("amqp://u:p%40ss@broker:5673/v")
        self.assertNotEqual((endpoint._host, endpoint._password), ("broker", "p@ss"))
        self.assertEqual((ours.hosts[0], ours.password.reveal()), (("broker", 5673), "p@ss"))

    def test_the_password_is_not_shown(self) -> None:
        """However it is printed."""
        self.assertNotIn("hush", repr(BrokerURL.parse("rabbit://u:hush@a/")))
