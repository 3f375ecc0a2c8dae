"""Brings a database's schema up to date, and says whether it is.

All calls block.  The migrations are the ``alembic/`` folder of a source tree, packaged as ``nfp.migrations``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import nfp
from nfp.manager.store.engine import connected
from nfp.model.errors import NfpError

_LOCK = 0x6E6670  # "nfp"


class SchemaOutdated(NfpError):
    """The database's schema is not the one that this release works with."""

    code = "SchemaOutdated"


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the schema of the database at *url* to *revision*; there already is success.

    Hosts that do this at the same time wait for each other.

    :raises nfp.model.errors.Unavailable: the database is away.
    """
    with _configured(url) as config:
        command.upgrade(config, revision)


def downgrade(url: str, revision: str) -> None:
    """Take the schema back to *revision*; ``base`` removes every table, with what is in it.

    :raises nfp.model.errors.Unavailable: the database is away.
    """
    with _configured(url) as config:
        command.downgrade(config, revision)


def head() -> str:
    """The revision that this release works with."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None, "the migrations have no head"
    return found


def current(url: str) -> str | None:
    """The revision of the database at *url*; ``None`` for one without our tables.

    :raises nfp.model.errors.Unavailable: the database is away.
    """
    with connected(url) as connection:
        return _current(connection)


def check(url: str) -> None:
    """Make sure that the schema is the one that this release works with.

    :raises SchemaOutdated: it is not; the text names the command that mends it.
    :raises nfp.model.errors.Unavailable: the database is away.
    """
    found, wanted = current(url), head()
    if found == wanted:
        return
    if found is not None and found not in _known():
        raise SchemaOutdated(
            f"the database has schema {found}, newer than this release ({wanted}): install the newer release"
        )
    raise SchemaOutdated(
        f"the database has {f'schema {found}' if found else 'no schema'}, this release needs {wanted}:"
        " run 'nfp database upgrade'"
    )


def _current(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _known() -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _folder() -> Path:
    """Where the migrations are: inside an installed package, beside it in a source tree."""
    installed = find_spec("nfp.migrations")
    if installed is not None and installed.submodule_search_locations:
        return Path(next(iter(installed.submodule_search_locations)))
    return Path(nfp.__file__).parent.parent / "alembic"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _configured(url: str) -> Iterator[Config]:
    with connected(url) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        config = _config()
        config.attributes["connection"] = connection
        yield config
