"""One way to run blocking code: a plain class behind an interface, in a pool of its own."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet import defer
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import directlyProvides, providedBy

from nfp.model.errors import Transient

T = TypeVar("T")


class Threads:
    """A pool of threads with a deadline for each call.

    :param reactor: gives the threads their way back, and the clock.
    :param size: how many calls may block at once; more wait in line.
    """

    def __init__(self, reactor: Any, size: int = 10) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, size, name="nfp-blocking")

    def start(self) -> None:
        """Take calls from now on."""
        self._pool.start()

    def stop(self) -> None:
        """Wait for the calls that run, take no more."""
        self._pool.stop()

    async def call(self, function: Callable[..., T], *args: object, timeout: float | None = None) -> T:
        """Run *function* in a thread.

        :param timeout: seconds until the caller gets :class:`~nfp.model.errors.Transient`; the
            thread itself cannot be stopped, so what it calls must have a timeout of its own.
        """
        deferred: defer.Deferred[T] = deferToThreadPool(self._reactor, self._pool, function, *args)
        if timeout is None:
            return await deferred
        try:
            return await deferred.addTimeout(timeout, self._reactor)
        except defer.TimeoutError:
            name = getattr(function, "__qualname__", repr(function))
            raise Transient(f"{name} did not answer within {timeout:g} s") from None


def in_threads(blocking: object, threads: Threads, timeout: float) -> Any:
    """Make the awaitable form of a driver that is written as a plain blocking class.

    :param blocking: the driver; the interfaces that it provides are those of the result too.
    :param timeout: seconds that any call may take.
    """
    return _InThreads(blocking, threads, timeout)


class _InThreads:
    def __init__(self, blocking: object, threads: Threads, timeout: float) -> None:
        self._blocking = blocking
        self._threads = threads
        self._timeout = timeout
        directlyProvides(self, providedBy(blocking))

    def __getattr__(self, name: str) -> object:
        value = getattr(self._blocking, name)
        if not inspect.ismethod(value):
            return value

        def call(*args: object) -> Awaitable[object]:
            return self._threads.call(value, *args, timeout=self._timeout)

        return call
