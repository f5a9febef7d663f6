"""Start the kernels of runs, always from this environment, whatever kernels the user has installed.

A fresh kernel takes seconds to import TensorFlow and librosa. For many runs in a row, kernels are forked from a process
that has already imported them, see `kernel_server`. Each run still has a process of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import uuid
from collections import defaultdict
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

from sernb import utils

KERNEL_DIR = Path(sys.prefix, "share", "jupyter", "kernels")
SERVER = Path(__file__).with_name("kernel_server.py")
ON_LINUX = sys.platform.startswith("linux")
# Forking a process that has loaded Apple's frameworks is not safe.
CAN_FORK = ON_LINUX
# Variables that no library reads when it is imported: kernels in which only these differ may share a server.
PER_KERNEL = (utils.LOCKED_FOLDER, "SERNB_DATA", "SERNB_CACHE", "PYTEST_CURRENT_TEST")
SERVER_SECONDS = 180  # how long to wait for a server, which first imports its libraries


class StoppedError(RuntimeError):
    """The sweep was stopped before this run's kernel was started."""


# the kernels of a sweep

_registry_lock = threading.Lock()
_processes: dict[str, list[Any]] = defaultdict(list)  # the running kernels of each sweep
_stopped: set[str] = set()


def refuse_if_stopped(sweep: str) -> None:
    """Raise StoppedError if a sweep was stopped."""
    if sweep in _stopped:
        raise StoppedError("the sweep was stopped")


def stop_sweep(sweep: str) -> None:
    """Kill the kernels that this process has started for a sweep, and start no more."""
    with _registry_lock:
        _stopped.add(sweep)
        for process in _processes.pop(sweep, []):
            _kill(process)


def _register(sweep: str, process: Any) -> None:
    with _registry_lock:
        if sweep in _stopped:
            _kill(process)
            refuse_if_stopped(sweep)
        _processes[sweep] = [*(other for other in _processes[sweep] if other.poll() is None), process]


def _kill(process: Any) -> None:
    if process.poll() is None:  # otherwise its id may be another process's by now
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)  # each kernel leads a process group


# one kernel


def kernel_manager(environment: dict[str, str], folder: Path, *, fork: bool = False, sweep: str = "") -> type:
    """Return a class of kernel managers that start this environment's own kernel.

    The environment and the folder are passed to the kernel directly: changing this process's own would affect runs in
    other threads.

    Args:
        environment: The kernel's environment variables.
        folder: The kernel's working directory.
        fork: On Linux, fork the kernel from a process that has imported the large libraries. The first such kernel
            starts that process and waits for its imports.
        sweep: The sweep that the kernel belongs to, for `stop_sweep`.
    """

    class OwnKernelManager(AsyncKernelManager):
        def _kernel_spec_manager_default(self) -> KernelSpecManager:
            return KernelSpecManager(parent=self, kernel_dirs=[str(KERNEL_DIR)])

        async def start_kernel(self, **kwargs: Any) -> None:
            """Start the kernel in its environment and folder, unless its sweep was stopped."""
            refuse_if_stopped(sweep)
            if ON_LINUX:
                # Another program could take a TCP port before the kernel does; the name of a socket is unique.
                self.transport, self.ip = "ipc", f"@sernb-{uuid.uuid4()}"
            if fork and CAN_FORK:
                self.provisioner = _ForkingProvisioner(kernel_spec=self.kernel_spec, parent=self)
                self.provisioner.sweep = sweep
            await super().start_kernel(**{**kwargs, "env": environment, "cwd": str(folder)})
            _register(sweep, self.provisioner.process)

    return OwnKernelManager


class _ForkingProvisioner(LocalProvisioner):
    """Start a kernel through a server, and manage it like a child process."""

    sweep = ""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        """Fork the kernel, or start a fresh one if that fails; return its connection information."""
        # In a thread: a server needs seconds to start, and a sweep that is stopped meanwhile must not wait for it.
        future: Future = Future()
        arguments = (future, self.sweep, cmd, kwargs["env"], kwargs["cwd"])
        threading.Thread(target=_fork_kernel, args=arguments, daemon=True).start()
        while not future.done():
            refuse_if_stopped(self.sweep)
            await asyncio.sleep(0.02)
        try:
            pid = future.result()
        except OSError:  # a fresh kernel takes longer, but does the same
            return await super().launch_kernel(cmd, **kwargs)
        self.process = _ForkedProcess(pid)
        self.pid = self.pgid = pid
        self.cwd = kwargs["cwd"]
        return self.connection_info


class _ForkedProcess:
    """Represent a process that is not a child of this one, with the part of `subprocess.Popen` that is used here."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int):
        self.pid = pid
        self._process = None
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process = psutil.Process(pid)

    def poll(self) -> int | None:
        """Return None while the process runs, otherwise 1: only its parent can read the exit status."""
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
        """Send a signal, if the process still runs."""
        if self.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._process.send_signal(number)

    def terminate(self) -> None:
        """Ask the process to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process."""
        self.send_signal(signal.SIGKILL)


# the server


class _KernelServer:
    """Run a `kernel_server`. It ends with this process, or after two idle minutes."""

    def __init__(self, environment: dict[str, str]):
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            # TensorFlow's import loads Matplotlib, which then chooses its backend; a kernel uses this one.
            env={"MPLBACKEND": "module://matplotlib_inline.backend_inline", **environment},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # so that it does not get the terminal's interrupt
        )
        atexit.register(self._process.kill)  # while it imports, it does not notice the end of its input

    def fork(self, command: list[str], environment: dict[str, str], folder: str) -> int:
        """Return the process id of a new kernel; raise OSError if the server has ended or does not respond."""
        request = {"command": command, "environment": environment, "folder": folder}
        with self._lock:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            if not select.select([self._process.stdout], [], [], SERVER_SECONDS)[0]:
                self._process.kill()
            pid = int(self._process.stdout.readline() or 0)
        if not pid:
            raise BrokenPipeError("the server of kernels has ended, or could not fork")
        return pid

    def has_ended(self) -> bool:
        """Return whether the server has ended, and close its pipes if so."""
        if self._process.poll() is None:
            return False
        self._process.stdin.close()
        self._process.stdout.close()
        return True


_servers: dict[frozenset, _KernelServer] = {}  # by the environment in which they have imported their libraries
_servers_lock = threading.Lock()


def _fork_kernel(future: Future, sweep: str, command: list[str], environment: dict[str, str], folder: str) -> None:
    """Fork a kernel, and set the future to its process id or to the error; kill it if its sweep was stopped."""
    try:
        pid = _find_server(environment).fork(command, environment, folder)
    except Exception as error:
        future.set_exception(error)
        return
    with _registry_lock:
        if sweep in _stopped:
            _kill(_ForkedProcess(pid))
    future.set_result(pid)


def _find_server(environment: dict[str, str]) -> _KernelServer:
    """Return the server for an environment, a new one if there is none."""
    shared = {name: value for name, value in environment.items() if name not in PER_KERNEL}
    key = frozenset(shared.items())
    with _servers_lock:
        for other in [other for other, server in _servers.items() if server.has_ended()]:
            del _servers[other]
        server = _servers[key] = _servers.get(key) or _KernelServer(shared)
    return server
