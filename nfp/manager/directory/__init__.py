"""Network directories: where the manager looks up what an id means.

Filled by requests and by ``nfp lab``; asked once the manager takes notifications that carry only ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nfp.manager.directory.embedded import EmbeddedDirectory
from nfp.manager.store.engine import Store

DIRECTORIES: Mapping[str, Callable[[Store], object]] = {"embedded": EmbeddedDirectory}
"""Directory name → factory; what it makes provides :class:`~nfp.manager.interfaces.INetworkDirectory`."""
