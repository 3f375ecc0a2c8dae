"""Run a command on a lab host.  Imports little: it is called for every packet that somebody sends."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn

from nfp.embedded.state_dir import StateDir
from nfp.model.errors import Invalid, NotFound
from nfp.netns import namespaces


def enter(state: StateDir, name: str, command: Sequence[str]) -> NoReturn:
    """Become *command* inside the host's namespace; standard streams and exit status are its own.

    :raises NotFound: no host of that name is attached, or there is no such command.
    """
    if not command:
        raise Invalid("expected a command after --", field="COMMAND")
    namespace = state.lab(name)
    try:
        entrance = namespaces.open_file(namespace)
    except FileNotFoundError:
        raise NotFound(f"no lab host {name} is attached in {state.root}") from None
    namespaces.enter(entrance, namespace)  # this very process: nothing of ours is left after exec
    os.close(entrance)
    try:
        os.execvp(command[0], list(command))  # noqa: S606 - a list, no shell
    except OSError as error:
        raise NotFound(f"{command[0]}: {error.strerror}") from None
