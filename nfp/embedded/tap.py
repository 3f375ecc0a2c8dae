"""The process of ``nfp up``: preflight, start, wait for a signal, stop.  Imports the reactor."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from twisted.internet import task
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import globalLogBeginner

from nfp.daemon.journal import observer
from nfp.daemon.settings import SettingsError
from nfp.embedded import configuration, preflight
from nfp.embedded.configuration import EmbeddedSettings
from nfp.embedded.state_dir import StateDir
from nfp.embedded.up import Deployment
from nfp.model.errors import NfpError


def main(state_dir: str, files: Sequence[str], out: TextIO, err: TextIO) -> int:
    """Run one deployment until a signal ends it.

    :param files: the operator's INI files.
    :return: the exit status: 0 after a good stop, 1 when something is missing or failed.
    """
    state = StateDir.at(state_dir)
    try:
        settings = configuration.read(state, files)
    except SettingsError as error:
        return _refuse(err, "the configuration cannot be used", error.problems)
    wrong = configuration.check(state, settings)
    if wrong:
        return _refuse(err, "the configuration cannot be used", wrong)
    url = settings.transport_url
    found = preflight.problems(preflight.gather(state, url.reveal() if url else None), state)
    if found:
        return _refuse(err, "this machine lacks something", [f"{p.what}\n    → {p.remedy}" for p in found])
    return _run(state, settings, out, err)


def _refuse(err: TextIO, what: str, problems: Sequence[str]) -> int:
    err.write(f"nfp up: {what}; nothing was changed\n")
    for problem in problems:
        err.write(f"  {problem}\n")
    return 1


def _run(state: StateDir, settings: EmbeddedSettings, out: TextIO, err: TextIO) -> int:
    from twisted.internet import reactor

    state.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    state.log.mkdir(exist_ok=True, mode=0o700)
    status = [1]

    async def run(reactor: Any) -> None:
        status[0] = await _until_told(reactor, state, settings, out, err)

    with open(state.log / "up.log", "a") as journal:
        globalLogBeginner.beginLoggingTo(
            [observer("nfp-up", journal)], redirectStandardIO=False, discardBuffer=True
        )
        try:
            task.react(lambda reactor: ensureDeferred(run(reactor)), _reactor=reactor)
        except SystemExit as ending:
            return status[0] if ending.code in (0, None) else 1
    return status[0]


async def _until_told(
    reactor: Any, state: StateDir, settings: EmbeddedSettings, out: TextIO, err: TextIO
) -> int:
    def say(sentence: str) -> None:
        out.write(f"{sentence}\n")
        out.flush()

    deployment = Deployment(reactor, state, settings, say)
    told: Deferred[None] = Deferred()
    stopped: Deferred[None] = Deferred()
    starting = Deferred.fromCoroutine(deployment.start())

    def on_shutdown() -> Deferred[None]:
        if not told.called:
            told.callback(None)
            starting.cancel()
        return stopped

    reactor.addSystemEventTrigger("before", "shutdown", on_shutdown)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # a closed terminal; nohup has it ignored
        signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(reactor.stop))
    failed = True
    try:
        await starting
        say("ready")
        for name, value in deployment.summary():
            say(f"  {name:<14} {value}")
        await told
        failed = False
    except CancelledError:
        failed = not told.called
    except (NfpError, OSError) as error:
        err.write(f"nfp up: {error}\n")
    finally:
        try:
            say("stopping")
            await deployment.stop(failed=failed)
            say("stopped")
        finally:
            stopped.callback(None)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:], sys.stdout, sys.stderr))
