"""A private RabbitMQ node for functional tests.

:func:`broker` gives the one node of this process: started when first asked for, stopped and
removed at exit.  Nothing is shared with another process: own ports, own epmd, own cookie, own
directory.  Tests tell each other apart by unique topic and exchange names.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from threading import RLock

from nfp.rpc.url import BrokerURL

INSTALLED = Path("/usr/lib/rabbitmq/lib")
START_SECONDS = 90.0

# The node must not outlive a test process that was killed: the guardian ends it when the pipe closes,
# and leaves the directory to a last process outside the group.
GUARDIAN = """
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
( read _ <&3; setsid sh -c "sleep 1; rm -rf '$PWD'" & sleep 0.2; kill -s KILL -- -$$ ) &
wait $child
"""


class Broker:
    """One RabbitMQ node.

    All methods block; a test that needs the reactor meanwhile calls them through ``deferToThread``.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="nfp-broker-"))
        self.port, self._dist_port, self._epmd_port = _free_ports(3)
        self._node = f"nfp{os.getpid()}x{self.port}@localhost"
        self._scripts = sorted(INSTALLED.glob("rabbitmq_server-*/sbin"))[-1]
        self._group: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._write_configuration()

    @property
    def address(self) -> str:
        """The transport URL as an operator writes it."""
        return f"rabbit://guest:guest@127.0.0.1:{self.port}//"

    @property
    def url(self) -> BrokerURL:
        """The transport URL, parsed."""
        return BrokerURL.parse(self.address)

    @property
    def running(self) -> bool:
        """Whether the node was started and not stopped since."""
        return self._group is not None

    def start(self) -> None:
        """Start the node and wait until it takes AMQP connections.

        :raises RuntimeError: it did not come up; the text ends with its log.
        """
        if self._group is not None:
            return
        if self._epmd is None:
            self._epmd = self._guarded("epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1")
            self._wait_for_port(self._epmd_port, self._epmd)
        self._group = self._guarded(str(self._scripts / "rabbitmq-server"))
        self._wait_for_port(self.port, self._group)

    def stop(self) -> None:
        """Stop the node as an orderly shutdown does: durable queues and messages are kept."""
        if self._group is not None:
            self.ctl("stop")
            self._group.wait(START_SECONDS)
            self._end(self._group)
            self._group = None

    def kill(self) -> None:
        """End the node at once, as a crash does."""
        if self._group is not None:
            self._end(self._group)
            self._group = None

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` (takes a second or two) and give what it printed."""
        done = subprocess.run(
            [str(self._scripts / "rabbitmqctl"), "-n", self._node, "-q", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    def close(self) -> None:
        """End everything and remove the directory."""
        self.kill()
        if self._epmd is not None:
            self._end(self._epmd)
            self._epmd = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def _write_configuration(self) -> None:
        self._environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.directory),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CTL_DIST_PORT_MIN": "0",
            "RABBITMQ_CTL_DIST_PORT_MAX": "0",
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.directory / "generated"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq"),
            # Idle schedulers must not spin: the machine is shared.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
        }
        (self.directory / "plugins").write_text("[].\n")
        (self.directory / "rabbitmq.conf").write_text(
            "vm_memory_high_watermark.relative = 0.5\ndisk_free_limit.absolute = 50MB\n"
        )

    def _guarded(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.directory / "output").open("ab") as output:
            return subprocess.Popen(
                ["/bin/sh", "-c", GUARDIAN, "guardian", *command],
                env=self._environment,
                cwd=self.directory,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_for_port(self, port: int, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)  # noqa: TID251  no reactor here
        raise RuntimeError(f"no answer on port {port}:\n{(self.directory / 'output').read_text()[-4000:]}")

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)


_lock = RLock()
_broker: Broker | None = None


def broker() -> Broker:
    """The node of this process, running."""
    global _broker
    with _lock:
        if _broker is None:
            _broker = Broker()
            atexit.register(_broker.close)
        _broker.start()
        return _broker


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
