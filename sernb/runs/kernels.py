"""Kernels for runs: always this environment's own, whatever the user has installed.

A fresh kernel takes seconds to import TensorFlow and librosa. Where many runs follow one another, they are forked from
a process that has imported them, see `kernel_server`; each run still has a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

from sernb import utils

KERNEL_DIR = Path(sys.prefix, "share", "jupyter", "kernels")
SERVER = Path(__file__).with_name("kernel_server.py")
# Forking a process that has loaded Apple's frameworks is not safe.
CAN_FORK = sys.platform.startswith("linux")
# Variables that no library reads when it is imported: kernels in which only these differ may share a server.
PER_KERNEL = (utils.LOCKED_FOLDER, "SERNB_DATA", "SERNB_CACHE", "PYTEST_CURRENT_TEST")


def kernel_manager(environment: dict[str, str], folder: Path, *, fork: bool = False) -> type:
    """Return a class of kernel managers that start this environment's own kernel.

    The kernel gets its environment and its folder by itself: changing those of this process would change them for runs
    in other threads too.

    Args:
        environment: The kernel's environment variables.
        folder: The kernel's working directory.
        fork: Fork the kernel from a process that has imported the large libraries, where the system allows that. The
            first such kernel starts that process, and waits for it.
    """

    class OwnKernelManager(AsyncKernelManager):
        def _kernel_spec_manager_default(self) -> KernelSpecManager:
            return KernelSpecManager(parent=self, kernel_dirs=[str(KERNEL_DIR)])

        async def start_kernel(self, **kwargs: Any) -> None:
            if fork and CAN_FORK:
                self.provisioner = _ForkingProvisioner(kernel_spec=self.kernel_spec, parent=self)
            await super().start_kernel(**{**kwargs, "env": environment, "cwd": str(folder)})

    return OwnKernelManager


class _ForkingProvisioner(LocalProvisioner):
    """Starts a kernel by a server and handles it like a process of one's own."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        # In a thread: a server's start takes seconds, and nobody else should wait for it.
        pid = await asyncio.to_thread(_fork_kernel, cmd, kwargs["env"], kwargs["cwd"])
        self.process = _ForkedProcess(pid)
        self.pid = self.pgid = pid
        self.cwd = kwargs["cwd"]
        return self.connection_info


class _ForkedProcess:
    """A process that is not this one's child, with the part of `subprocess.Popen` that jupyter_client uses."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int):
        self.pid = pid
        self._process = None
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process = psutil.Process(pid)

    def poll(self) -> int | None:
        """Return None while it runs; how it ended only its parent knows."""
        if self._process is None:
            return 1
        try:
            running = self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            running = False
        return None if running else 1

    def wait(self) -> int:
        """Return at once: jupyter_client calls this after the end of the process."""
        return self.poll() or 0

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            self._process.send_signal(number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(15)

    def kill(self) -> None:
        """End it."""
        self.send_signal(9)


class _KernelServer:
    """A running `kernel_server`. It ends with this process, or by itself when it has had nothing to do."""

    def __init__(self, environment: dict[str, str]):
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            # Matplotlib reads how it is to draw when TensorFlow imports it; this is what a kernel sets.
            env={"MPLBACKEND": "module://matplotlib_inline.backend_inline", **environment},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # so that it does not get the terminal's interrupt
        )

    def fork(self, command: list[str], environment: dict[str, str], folder: str) -> int:
        """Return the process id of a new kernel; raise BrokenPipeError if the server has ended."""
        request = {"command": command, "environment": environment, "folder": folder}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        if not (answer := self._process.stdout.readline()):
            raise BrokenPipeError("the server of kernels has ended")
        return int(answer)


_servers: dict[frozenset, _KernelServer] = {}  # by the environment in which they have imported their libraries
_server_lock = threading.Lock()


def _fork_kernel(command: list[str], environment: dict[str, str], folder: str) -> int:
    shared = {name: value for name, value in environment.items() if name not in PER_KERNEL}
    key = frozenset(shared.items())
    with _server_lock:
        if key in _servers:
            with contextlib.suppress(OSError):  # it had nothing to do for some time, or was killed
                return _servers[key].fork(command, environment, folder)
        _servers[key] = _KernelServer(shared)
        return _servers[key].fork(command, environment, folder)
