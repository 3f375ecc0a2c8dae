"""Runs one of our processes under twistd, as an operator would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


class Process:
    """``twistd nfp-NAME --config FILE``, in a directory of its own.

    :param name: ``nfp-proxy`` for instance.
    :param where: gets its log and its ready file.
    """

    def __init__(self, name: str, config: Path, where: Path) -> None:
        self.ready_file = where / f"{name}.ready"
        self.ready_file.unlink(missing_ok=True)
        self._log = (where / f"{name}.log").open("ab")
        self.log_path = where / f"{name}.log"
        argv = [
            sys.executable, "-m", "twisted", "-n", "--pidfile=", "--logger=nfp.daemon.journal.to_stderr",
            name, "--config", str(config), "--ready-file", str(self.ready_file),
        ]  # fmt: skip
        argv[1:3] = ["-c", "from twisted.scripts.twistd import run; run()"]
        self.process = subprocess.Popen(
            argv,
            cwd=where,
            stderr=self._log,
            stdout=self._log,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    @property
    def ready(self) -> bool:
        return self.ready_file.exists()

    def wait_ready(self, seconds: float = 20.0) -> None:
        """For callers that need no reactor meanwhile."""
        end = time.monotonic() + seconds
        while not self.ready:
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"not ready: {self.log_path.read_text()}")
            time.sleep(0.02)  # noqa: TID251 -- waits for a condition, outside the reactor

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(20)
        self._log.close()
        return code
