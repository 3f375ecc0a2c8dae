"""libnftables in this process, by a small binding of our own.

A context belongs to the namespace in which it was made, whichever thread uses it afterwards, and
keeps that namespace alive.  To let one go takes many milliseconds, for the kernel first ends what
it has put off: keep it as long as the device is served.  Blocking.
"""

from __future__ import annotations

import ctypes
import json
import threading
from functools import cache
from types import TracebackType
from typing import Any

from nfp.model.errors import Permanent

_LIBRARY = "libnftables.so.1"
_STATELESS, _JSON, _NUMERIC = 1 << 2, 1 << 4, (1 << 7) | (1 << 8) | (1 << 9) | (1 << 10)
_ABSENT = "No such file or directory"

# The library keeps tables of its own between contexts and does not promise that two may run at once.
_one_at_a_time = threading.Lock()


class NftError(Permanent):
    """The kernel or the library refused; nothing of the transaction was done."""


@cache
def _library() -> Any:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise NftError(f"{_LIBRARY} cannot be loaded: {error}") from None
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_free.argtypes = [ctypes.c_void_p]
    library.nft_ctx_buffer_output.argtypes = [ctypes.c_void_p]
    library.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_ctx_set_dry_run.argtypes = [ctypes.c_void_p, ctypes.c_bool]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.nft_ctx_get_output_buffer.argtypes = [ctypes.c_void_p]
    library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
    library.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    return library


class Nft:
    """A libnftables context in the namespace of the thread that makes it; a context manager."""

    def __init__(self) -> None:
        self._nft = _library()
        with _one_at_a_time:
            self._context = self._nft.nft_ctx_new(0)
            if not self._context:
                raise NftError("libnftables gave no context")
            self._nft.nft_ctx_buffer_output(self._context)
            self._nft.nft_ctx_buffer_error(self._context)

    def __enter__(self) -> Nft:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the context go; once."""
        with _one_at_a_time:
            self._nft.nft_ctx_free(self._context)

    def _run(self, script: str, flags: int) -> tuple[str, str | None]:
        """Run *script*; gives output and, if it failed, the error's text."""
        with _one_at_a_time:
            self._nft.nft_ctx_output_set_flags(self._context, flags)
            failed = self._nft.nft_run_cmd_from_buffer(self._context, script.encode("ascii"))
            output = self._nft.nft_ctx_get_output_buffer(self._context).decode("utf-8", "replace")
            error = self._nft.nft_ctx_get_error_buffer(self._context).decode("utf-8", "replace")
        return output, (error.strip() or "unknown error") if failed else None

    def transaction(self, script: str) -> None:
        """Do all that *script* says, or nothing of it.

        :raises NftError: with the first line of the library's explanation.
        """
        _, error = self._run(script, _NUMERIC)
        if error is not None:
            raise NftError(f"nftables: {error.splitlines()[0]}")

    def check(self, script: str) -> None:
        """Check that *script* could be done, without doing it.

        :raises NftError: it could not.
        """
        self._nft.nft_ctx_set_dry_run(self._context, True)
        try:
            self.transaction(script)
        finally:
            self._nft.nft_ctx_set_dry_run(self._context, False)

    def listing(self, table: str) -> str | None:
        """An ``inet`` table as the kernel has it, without counters' values; ``None`` if it has none."""
        output, error = self._run(f"list table inet {table}", _STATELESS | _NUMERIC)
        return output if self._there(error) else None

    def counters(self, table: str) -> dict[str, dict[str, int]]:
        """Packets and bytes by name of an ``inet`` table's counters; none for a table that is not there."""
        output, error = self._run(f"list counters table inet {table}", _JSON)
        if not self._there(error):
            return {}
        found = [item["counter"] for item in json.loads(output)["nftables"] if "counter" in item]
        return {one["name"]: {"packets": one["packets"], "bytes": one["bytes"]} for one in found}

    @staticmethod
    def _there(error: str | None) -> bool:
        if error is None:
            return True
        if _ABSENT in error:
            return False
        raise NftError(f"nftables: {error.splitlines()[0]}")
