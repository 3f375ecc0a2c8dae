"""Run checks and tests one stage after another, and say at the very end how many passed and failed.

    python tools/run_tests.py lint types unit functional fault

The last line, ``N passed, N failed``, is added up from trial's own summaries; a check, or a suite
that ends without a summary, counts as one.  Later stages run even when an earlier one fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUMMARY = re.compile(r"^(?:PASSED|FAILED)(?: \((?P<counts>[^)]*)\))?$")
LINTED = ("nfp", "tests", "tools", "benchmarks", "examples", "alembic", "twisted/plugins", "setup.py")


@dataclass(frozen=True)
class Outcome:
    """What one stage came to.

    :ivar skipped: tests that said why they cannot run here.
    """

    stage: str
    passed: int
    failed: int
    skipped: int
    seconds: float


def counts_of(line: str) -> dict[str, int] | None:
    """Read trial's last line, ``FAILED (failures=1, successes=3)``; ``None`` for any other line."""
    found = SUMMARY.match(line.strip())
    if found is None:
        return None
    pairs = re.findall(r"(\w+)=(\d+)", found["counts"] or "")
    return {name: int(number) for name, number in pairs}


def judged(counts: dict[str, int] | None, status: int) -> tuple[int, int, int]:
    """Passed, failed and skipped tests of a suite.

    :param counts: trial's summary; ``None``: the suite ended without one.
    :param status: the suite's exit status.
    """
    if counts is None:
        return (0, 1, 0)
    passed = counts.get("successes", 0) + counts.get("expectedFailures", 0)
    failed = sum(counts.get(name, 0) for name in ("failures", "errors", "unexpectedSuccesses"))
    return (passed, max(failed, 1) if status else failed, counts.get("skips", 0))


def run(command: list[str]) -> Iterator[str | int]:
    """Run *command*, passing its output on; gives each line, then the exit status."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            yield line
    yield process.returncode


def check(*commands: list[str]) -> tuple[int, int, int]:
    """Run a check of several commands; counts as one."""
    statuses = [said for command in commands for said in run(command) if isinstance(said, int)]
    return (0, 1, 0) if any(statuses) else (1, 0, 0)


def suite(name: str) -> tuple[int, int, int]:
    """Run one suite of tests with trial, its working files in a directory of its own."""
    if not any((ROOT / "tests" / name).rglob("test_*.py")):
        return (0, 0, 0)
    scratch = Path(tempfile.mkdtemp(prefix=f"nfp-trial-{name}-"))
    command = [
        sys.executable,
        "-m",
        "twisted.trial",
        f"--temp-directory={scratch / 'trial'}",
        f"tests.{name}",
    ]
    counts, status = None, 1
    for said in run(command):
        if isinstance(said, int):
            status = said
        else:
            counts = counts_of(said) or counts
    if status == 0:
        shutil.rmtree(scratch, ignore_errors=True)
    else:
        sys.stdout.write(f"trial's files are kept in {scratch}\n")
    return judged(counts, status)


def lint() -> tuple[int, int, int]:
    """Style, with the formatter's verdict."""
    there = [path for path in LINTED if (ROOT / path).exists()]
    ruff = [sys.executable, "-m", "ruff"]
    return check([*ruff, "check", *there], [*ruff, "format", "--check", "--quiet", *there])


def types() -> tuple[int, int, int]:
    """Types, strictly."""
    return check([sys.executable, "-m", "mypy"])


STAGES: dict[str, Callable[[], tuple[int, int, int]]] = {
    "lint": lint,
    "types": types,
    "unit": lambda: suite("unit"),
    "functional": lambda: suite("functional"),
    "fault": lambda: suite("fault"),
}


def main(argv: list[str]) -> int:
    """Run the stages named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("stages", nargs="+", choices=STAGES, metavar="STAGE")
    outcomes = []
    for stage in parser.parse_args(argv).stages:
        sys.stdout.write(f"== {stage}\n")
        sys.stdout.flush()
        began = time.monotonic()
        passed, failed, skipped = STAGES[stage]()
        outcomes.append(Outcome(stage, passed, failed, skipped, time.monotonic() - began))
    sys.stdout.write("\n")
    for one in outcomes:
        sys.stdout.write(
            f"{one.stage:<11} {one.passed:>5} passed {one.failed:>4} failed {one.skipped:>4} skipped"
            f" {one.seconds:>7.1f} s\n"
        )
    failed = sum(one.failed for one in outcomes)
    sys.stdout.write(f"{sum(one.passed for one in outcomes)} passed, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
