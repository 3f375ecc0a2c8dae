"""The databases that a store test runs on, each empty and the test's own."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from twisted.trial.unittest import SynchronousTestCase

from nfp.manager.store.engine import make_engine
from tests.functional import postgres


class OnSqlite(SynchronousTestCase):
    """A test's database is an SQLite file."""

    def make_url(self) -> str:
        return f"sqlite:///{Path(self.mktemp()).absolute()}.db"

    def make_engine(self, url: str) -> sa.Engine:
        engine = make_engine(url)
        self.addCleanup(engine.dispose)
        return engine


class OnPostgresql(OnSqlite):
    """A test's database is one of a private PostgreSQL cluster."""

    def make_url(self) -> str:
        return postgres.database(self)
