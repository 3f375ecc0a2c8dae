"""One way to name a configuration: the digest of its canonical JSON (invariant I8)."""

from __future__ import annotations

import hashlib
import json


def canonical(tree: object) -> str:
    """Write *tree* so that equal trees give equal text.

    :raises TypeError: *tree* holds something that JSON does not know.
    """
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(tree: object) -> str:
    """Name *tree* by the SHA-256 of its canonical JSON, in hex."""
    return hashlib.sha256(canonical(tree).encode("utf-8")).hexdigest()
