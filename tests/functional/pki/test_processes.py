"""The authority among several processes, and in the eyes of another implementation."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from nfp.pki.authority import Authority

ROOT = Path(__file__).resolve().parents[3]
MAKES = """
import os, sys
os.umask(0)
from nfp.pki.authority import Authority
sys.stdin.readline()
for name in ("agent.h1", "configurator.t1", "device.h1"):
    print(Authority.create(sys.argv[1]).issue(name).read_bytes())
"""


class ProcessesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.where = Path(tempfile.mkdtemp(prefix="nfp-pki-", dir="/tmp")) / "pki"
        self.addCleanup(shutil.rmtree, self.where.parent)

    def test_processes_that_begin_together_get_the_same_files(self) -> None:
        together = [
            subprocess.Popen(
                [sys.executable, "-c", MAKES, str(self.where)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            for _ in range(4)
        ]
        for one in together:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        told = {one.communicate(timeout=60)[0] for one in together}
        self.assertEqual([one.returncode for one in together], [0] * 4)
        self.assertEqual(len(told), 1)
        self.assertTrue(all(told))
        for path in self.where.iterdir():
            mode = stat.S_IMODE(path.stat().st_mode)
            self.assertEqual(mode, 0o644 if path.name == "ca.pem" else 0o600, path.name)

    def test_openssl_agrees(self) -> None:
        if shutil.which("openssl") is None:
            raise SkipTest("there is no openssl command here")
        authority = Authority.create(self.where)
        path = authority.issue("configurator.t1", client=False)
        verify = ["openssl", "verify", "-x509_strict", "-CAfile", str(authority.ca_path)]
        for purpose, code in (("sslserver", 0), ("sslclient", 2)):
            done = subprocess.run(
                [*verify, "-purpose", purpose, "-verify_hostname", "configurator.t1", str(path)],
                capture_output=True,
            )
            self.assertEqual(done.returncode, code, done.stderr)
