"""Lanes and start-up of the runtime, without threads or sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nfp.daemon.settings import SettingsError
from nfp.device.config import read
from nfp.device.runtime import Runtime
from nfp.device.store import DeviceState, Store
from nfp.device.tap import Options, wire
from nfp.model.errors import Conflict, Invalid, NotFound, Transient
from nfp.pki.authority import Authority


class Threads:
    """Calls end when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., Any], tuple[object, ...], Deferred[Any]]] = []
        self.hold = False
        self.running = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    async def call(self, function: Callable[..., Any], *args: object, timeout: float | None = None) -> Any:
        if not self.hold:
            return function(*args)
        ended: Deferred[Any] = Deferred()
        self.calls.append((function, args, ended))
        return await ended


def operation(device: Any, answer: object) -> object:
    """Stands for whatever a device can be asked."""
    return answer


class RuntimeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.threads: Any = Threads()
        self.store = Store(self.mktemp())
        for name in ("a", "b"):
            self.store.write(DeviceState(name, f"nfpt-not-there-{name}", "fd00::1", 9444))
        self.runtime = Runtime(self.clock, self.threads, self.store, None, ["*"])  # type: ignore[arg-type]
        self.runtime.startService()

    def ask(self, nsd_id: str, answer: object = None) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.runtime._run(nsd_id, operation, answer))

    def test_devices_whose_namespace_is_not_there_are_known_and_said_not_to_listen(self) -> None:
        self.assertFalse(self.runtime.started.called)
        self.clock.advance(0)
        self.successResultOf(self.runtime.started)
        self.assertEqual(
            {name: one["listening"] for name, one in self.runtime.served().items()}, {"a": False, "b": False}
        )

    def test_one_device_does_one_thing_at_a_time_and_in_order_and_others_do_not_wait(self) -> None:
        self.threads.hold = True
        answers = [self.ask("a", 1), self.ask("a", 2), self.ask("b", 3)]
        self.assertEqual([args[1] for _, args, _ in self.threads.calls], [1, 3])
        self.threads.calls[0][2].callback("first")
        self.assertEqual([args[1] for _, args, _ in self.threads.calls], [1, 3, 2])
        self.assertEqual(self.successResultOf(answers[0]), "first")
        self.assertNoResult(answers[1])

    def test_a_caller_that_hangs_up_frees_no_lane(self) -> None:
        self.threads.hold = True
        gone, waiting = self.ask("a", 1), self.ask("a", 2)
        gone.cancel()
        self.failureResultOf(gone)
        self.assertEqual(len(self.threads.calls), 1)
        self.threads.calls[0][2].callback(None)
        self.assertEqual(len(self.threads.calls), 2)
        self.threads.calls[1][2].callback("second")
        self.assertEqual(self.successResultOf(waiting), "second")

    def test_an_unknown_device_is_not_found(self) -> None:
        self.failureResultOf(self.ask("c"), NotFound)

    def test_what_cannot_be_served_says_why(self) -> None:
        for arguments, kind in (
            (("c", "nfpt-not-there-c", "fd00::1", 9444), Transient),
            (("c", "nfpt-not-there-a", "fd00::1", 9444), Conflict),
            (("../c", "x", "fd00::1", 9444), Invalid),
            (("d", "../x", "fd00::1", 9444), Invalid),
        ):
            self.failureResultOf(Deferred.fromCoroutine(self.runtime.serve(*arguments)), kind)
        self.assertEqual([state.nsd_id for state in self.store.load()], ["a", "b", "c"])

    def test_a_forgotten_device_leaves_nothing(self) -> None:
        for _ in range(2):
            self.successResultOf(Deferred.fromCoroutine(self.runtime.forget("a")))
        self.assertEqual([state.nsd_id for state in self.store.load()], ["b"])
        self.failureResultOf(self.ask("a"), NotFound)

    def test_stopping_waits_for_what_is_under_way(self) -> None:
        self.clock.advance(0)
        self.threads.hold = True
        self.ask("a", 1)
        stopping = self.runtime.stopService()
        self.assertNoResult(stopping)
        self.assertTrue(self.threads.running)
        self.threads.hold = False
        self.threads.calls[0][2].callback(None)
        self.successResultOf(stopping)
        self.assertFalse(self.threads.running)


class SettingsTests(SynchronousTestCase):
    def write(self, text: str) -> str:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_every_fault_is_named_at_once(self) -> None:
        with self.assertRaises(SettingsError) as caught:
            read([self.write("[device]\nthreads = 0\n")])
        for name in ("socket", "state_dir", "certificate", "ca"):
            self.assertIn(f"[device] {name}", str(caught.exception))
        with self.assertRaises(SettingsError) as caught:
            read([self.write("[device]\nsocket=s\nstate_dir=d\ncertificate=/no/c\nca=/no/ca\nclients=\n")])
        self.assertEqual(len(caught.exception.problems), 3)

    def test_the_services_are_wired_from_the_settings(self) -> None:
        authority = Authority.create(self.mktemp())
        certificate = authority.issue("device.x")
        state = self.mktemp()
        path = self.write(
            f"[device]\nsocket=s\nstate_dir={state}\ncertificate={certificate}\nca={authority.ca_path}\n"
        )
        options = Options()
        options.parseOptions(["--config", path])
        self.assertEqual(options.settings.clients, ("configurator.*",))
        names = [service.name for service in wire(Clock(), options.settings)]
        self.assertEqual(names, ["runtime", "control socket", "ready"])
