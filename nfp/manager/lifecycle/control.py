"""The device runtime's control socket: HTTP over a UNIX socket, blocking, with a deadline."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nfp.model.errors import NfpError, Permanent, Transient, by_code


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect by path instead of by address."""
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connecting.settimeout(self.timeout)
            connecting.connect(self._path)
        except BaseException:
            connecting.close()
            raise
        self.sock = connecting


class DeviceControl:
    """Asks the device runtime to serve namespaces.

    :param path: its socket.
    :param timeout: seconds that it may take.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout

    def serve(self, nsd_id: str, namespace: str, address: str, port: int) -> None:
        """Let it serve *namespace* as device *nsd_id* at that address; being served is success."""
        self._ask(
            "PUT",
            f"/v1/namespaces/{quote(nsd_id, safe='')}",
            {"namespace": namespace, "address": address, "port": port},
        )

    def forget(self, nsd_id: str) -> None:
        """Let it serve the device no more, so that nothing keeps the namespace; not served is success."""
        self._ask("DELETE", f"/v1/namespaces/{quote(nsd_id, safe='')}", missing_ok=True)

    def served(self) -> Mapping[str, Any]:
        """The devices that it serves, by id."""
        answer = self._ask("GET", "/v1/namespaces")
        found = answer.get("namespaces", answer) if isinstance(answer, dict) else None
        if not isinstance(found, dict):
            raise Transient("the device runtime's list of namespaces cannot be read")
        return found

    def _ask(self, method: str, path: str, body: object = None, *, missing_ok: bool = False) -> Any:
        connection = _UnixConnection(self._path, self._timeout)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            status, text = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Transient(f"the device runtime at {self._path} cannot be asked: {error}") from error
        finally:
            connection.close()
        if status == http.client.NOT_FOUND and missing_ok:
            return {}
        if status >= http.client.BAD_REQUEST:
            raise _refusal(status, text)
        try:
            return json.loads(text) if text else {}
        except ValueError:
            raise Transient("the device runtime's answer cannot be read") from None


def _refusal(status: int, text: bytes) -> NfpError:
    try:
        error = json.loads(text)["error"]
        told = by_code(str(error["code"]), str(error["message"]))
    except (ValueError, KeyError, TypeError):
        told = NfpError(f"status {status}")
    reason = f"the device runtime refused: {told.reason}"
    if status >= http.client.INTERNAL_SERVER_ERROR or isinstance(told, Transient):
        return Transient(reason)
    return Permanent(reason)
