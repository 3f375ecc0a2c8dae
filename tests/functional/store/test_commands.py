"""``nfp database``, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from nfp.manager.store import migrate
from tests.functional.store.databases import OnPostgresql, OnSqlite


class SqliteCommands(OnSqlite):
    def setUp(self) -> None:
        self.url = self.make_url()
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        (self.directory / "nfp.conf").write_text(f"[database]\nconnection = {self.url}\n")

    def nfp(self, *words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "nfp.operator.cli.main", "--state-dir", str(self.directory), *words],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    def test_check_fails_naming_the_command_that_then_mends_it(self) -> None:
        code, out, err = self.nfp("database", "check")
        self.assertEqual((code, out), (1, ""))
        self.assertEqual(
            err,
            f"the database has no schema, this release needs {migrate.head()}: run 'nfp database upgrade'\n",
        )
        self.assertEqual(self.nfp("database", "upgrade"), (0, f"schema none -> {migrate.head()}\n", ""))
        self.assertEqual(self.nfp("database", "check"), (0, f"schema {migrate.head()}\n", ""))

    def test_a_configuration_without_database_is_told(self) -> None:
        (self.directory / "nfp.conf").write_text("")
        self.assertEqual(self.nfp("database", "upgrade"), (1, "", "[database] connection: is required\n"))


class PostgresqlCommands(OnPostgresql, SqliteCommands):
    def test_hosts_that_upgrade_at_the_same_time_wait_for_each_other(self) -> None:
        command = [sys.executable, "-m", "nfp.operator.cli.main", "database", "upgrade"]
        running = [
            subprocess.Popen(
                [*command, "--state-dir", str(self.directory)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for _ in range(3)
        ]
        for process in running:
            _, err = process.communicate(timeout=60)
            self.assertEqual((process.returncode, err), (0, b""))
        migrate.check(self.url)
