"""The test's hand on :mod:`tests.functional.oslo_peer`: requests, answers, and what it was told."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from queue import Queue
from typing import Any

SCRIPT = Path(__file__).with_name("oslo_peer.py")
ANSWER_SECONDS = 45.0


class Refused(Exception):
    """The request was answered with an error.

    :ivar kind: the error's class.
    :ivar text: its message.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text


class NodeDriver:
    """A process that speaks oslo.messaging.

    :param transport_url: the file that holds the broker's URL.
    :ivar notifications: every status that was told, in the order of arrival.
    """

    def __init__(self, transport_url: Path) -> None:
        self.notifications: list[dict[str, Any]] = []
        self._answers: dict[int, Queue[dict[str, Any] | None]] = {}
        self._numbers = count(1)
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(transport_url)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(ANSWER_SECONDS):
            raise RuntimeError("the oslo.messaging process is not ready")

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def call(self, method: str, *, options: Mapping[str, object] | None = None, **args: object) -> Any:
        """Call the manager.

        :param options: version, namespace, timeout, request_id.
        :raises Refused: it was answered with an error, or not at all.
        """
        return self._ask("call", method, args, options or {})

    def cast(self, method: str, *, options: Mapping[str, object] | None = None, **args: object) -> None:
        """Cast to the manager; returns when the client has sent it."""
        self._ask("cast", method, args, options or {})

    def told_of(self, network_service_id: str) -> list[dict[str, Any]]:
        """The notifications of one service."""
        return [told for told in self.notifications if told["network_service_id"] == network_service_id]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)

    def _ask(self, kind: str, method: str, args: Mapping[str, object], options: Mapping[str, object]) -> Any:
        number = next(self._numbers)
        answers = self._answers[number] = Queue()
        line = {"number": number, "kind": kind, "method": method, "args": args, **options}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        answer = answers.get(timeout=ANSWER_SECONDS)
        del self._answers[number]
        if answer is None:
            raise RuntimeError(f"the oslo.messaging process ended during {method}")
        if "error" in answer:
            raise Refused(answer["error"]["kind"], answer["error"]["text"])
        return answer["result"]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            line = json.loads(text)
            if "notification" in line:
                self.notifications.append(line["notification"])
            elif "ready" in line:
                self._ready.set()
            else:
                self._answers[line["number"]].put(line)
        for waiting in list(self._answers.values()):
            waiting.put(None)
