"""Adds the method ``acme_greet``."""

import os

from zope.interface import implementer

from nfp.process.interfaces import IModule, RpcHandler

GREET = {"type": "object", "required": ["whom"], "properties": {"whom": {"type": "string"}}}


@implementer(IModule)
class Acme:
    """Greets, in a worker."""

    name = "acme"

    def rpc_handlers(self):
        """One method."""
        return {"acme_greet": RpcHandler(GREET, "acme_greeting", lambda args: args["whom"])}

    def event_handlers(self):
        """One event."""
        return {"acme_greeting": self._greet}

    def key_kinds(self):
        """None."""
        return {}

    async def start(self, context):
        """Remember which worker this is."""
        self._index = context.index

    async def stop(self):
        """Nothing to let go."""

    async def _greet(self, event):
        whom = event.payload["args"]["whom"]
        return {"greeting": f"hello {whom}", "worker": self._index, "pid": os.getpid()}


def make(settings):
    """Make the module; what the entry point names."""
    return Acme()
