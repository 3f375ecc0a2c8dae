"""A lifecycle driver for benchmarks of the manager: it makes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from nfp.manager.lifecycle.config import read
from nfp.manager.lifecycle.namespace import NamespaceDriver
from nfp.model.devices import NetworkServiceSpec, SharingInfo
from nfp.model.errors import Waiting


class WaitingDriver(NamespaceDriver):
    """The namespace driver on a host where nothing can be made yet."""

    name = "benchmark"

    def get_nsd_sharing_info(self, network_service: NetworkServiceSpec) -> SharingInfo:
        """Have every service wait."""
        raise Waiting("a benchmark makes no devices")


def make(files: Sequence[str]) -> WaitingDriver:
    """What the entry point names."""
    return WaitingDriver(read(files))
