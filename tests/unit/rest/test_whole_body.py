"""The body of a request when its connection is lost."""

from __future__ import annotations

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IBodyProducer
from zope.interface.verify import verifyObject

from nfp.rest.client import WholeBody


class WholeBodyTests(SynchronousTestCase):
    def test_it_is_written_at_once_and_takes_a_late_pause_well(self) -> None:
        """As TLS pauses its producer when the connection is lost with something still to be written."""
        body, transport = WholeBody(b"all of it"), StringTransport()
        verifyObject(IBodyProducer, body)
        self.successResultOf(body.startProducing(transport))
        body.pauseProducing()
        body.resumeProducing()
        body.stopProducing()
        self.assertEqual(transport.value(), b"all of it")
        self.assertEqual(body.length, 9)
