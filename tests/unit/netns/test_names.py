"""What is refused before anything is touched."""

from __future__ import annotations

import threading

from twisted.trial.unittest import SynchronousTestCase

from nfp.netns import inside, namespaces
from nfp.netns.throwaway import in_thread


class NameTests(SynchronousTestCase):
    def test_namespaces_cannot_be_named_outside_their_directory(self) -> None:
        for bad in ("", ".", "..", "../x", "a/b", "a b", "x" * 65, "-x", "a\n"):
            with self.assertRaises(ValueError, msg=repr(bad)):
                namespaces.path_of(bad)
        self.assertEqual(str(namespaces.path_of("nfp-1-d")), "/run/netns/nfp-1-d")

    def test_only_sysctls_of_the_network_can_be_named(self) -> None:
        for bad in ("kernel/hostname", "net/../kernel/hostname", "net/ipv4/../../kernel/x", "/net/x", "net/"):
            with self.assertRaises(ValueError, msg=repr(bad)):
                inside.set_sysctls(None, {bad: "1"})

    def test_no_shell(self) -> None:
        with self.assertRaises(ValueError):
            inside.popen_inside(None, ["true"], shell=True)


class ThrowawayThreadTests(SynchronousTestCase):
    def test_it_gives_the_result_and_ends(self) -> None:
        thread = in_thread(threading.current_thread)
        self.assertIsNot(thread, threading.current_thread())
        self.assertFalse(thread.is_alive())

    def test_it_raises_the_error_in_the_caller(self) -> None:
        def fail() -> None:
            raise KeyError("mine")

        with self.assertRaises(KeyError):
            in_thread(fail)
