"""Import the large libraries once, and fork a kernel for each request: a script, started by `kernels`.

A request is a line of JSON on standard input with the kernel's command, environment and working directory; the reply is
the kernel's process id, or 0 if it could not be started. The server ends when its standard input does, or after two
idle minutes. Nothing of `sernb` is imported here, so that each kernel imports it from its own path.
"""

import contextlib
import importlib
import json
import logging
import os
import random
import select
import signal
import sys

MODULES = (
    "tensorflow",
    "keras",
    "librosa.core.pitch",
    "librosa.effects",
    "librosa.feature.spectral",
    "sklearn.linear_model",
    "nlpaug.augmenter.audio",
    "seaborn",
    "pandas",
    "ipykernel.kernelapp",
)
IDLE_SECONDS = 120


def serve() -> None:
    """Import the libraries, then start kernels until standard input ends or the server has been idle for too long."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    reply_pipe = os.dup(1)  # kept apart from what a library may print
    before = dict(os.environ)
    _import_quietly()
    # Some libraries set variables when they are imported, and only then.
    set_by_imports = {name: value for name, value in os.environ.items() if before.get(name) != value}
    server = os.getpid()
    kernels: set[int] = set()
    idle_seconds = 0
    while idle_seconds < IDLE_SECONDS:
        kernels = {pid for pid in kernels if _is_running(pid)}
        idle_seconds = 0 if kernels else idle_seconds + 1
        if not select.select([0], [], [], 1)[0]:
            continue
        idle_seconds = 0
        line = _read_line()
        if not line:
            return
        try:
            pid = os.fork()
        except OSError:  # too many processes, or too little memory
            os.write(reply_pipe, b"0\n")
            continue
        if pid == 0:
            os.close(reply_pipe)
            _become_kernel(server, set_by_imports, **json.loads(line))
        kernels.add(pid)
        try:
            os.write(reply_pipe, f"{pid}\n".encode())
        except BrokenPipeError:  # the process that asked has ended; the kernel ends with the server
            return


def _import_quietly() -> None:
    """Import the libraries; TensorFlow writes to standard error, whatever level of messages is asked for."""
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_RDWR)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    for module in MODULES:
        with contextlib.suppress(Exception):  # the notebook that needs the module will report the error
            importlib.import_module(module)
    os.dup2(stderr, 1)
    os.dup2(stderr, 2)
    os.close(stderr)
    os.close(devnull)


def _read_line() -> bytes:
    """Read one line byte by byte: `select` does not see what a buffered reader has already read."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return line


def _is_running(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False


def _become_kernel(
    server: int, set_by_imports: dict[str, str], command: list[str], environment: dict[str, str], folder: str
) -> None:
    """Turn this fork of the process `server` into the kernel that `command` would start."""
    status = 1
    try:
        os.setsid()  # as jupyter_client does, so that an interrupt in the terminal does not reach the kernel
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.clear()
        os.environ.update({**set_by_imports, **environment})
        os.chdir(folder)
        _reseed()
        from ipykernel.kernelapp import IPKernelApp

        sys.argv = [*command, f"--IPKernelApp.parent_handle={server}"]  # the kernel ends when the server does
        app = IPKernelApp.instance()
        if os.getppid() != server:  # it has ended already, which ipykernel may not notice
            return
        app.initialize(sys.argv[sys.argv.index("ipykernel_launcher") + 1 :])
        _redirect_tensorflow_log()
        app.start()
        status = 0
    finally:
        os._exit(status)


def _redirect_tensorflow_log() -> None:
    """Let TensorFlow log into the notebook, as it does if a kernel imports it, and not where the server writes."""
    logger = logging.getLogger("tensorflow")
    logger.setLevel(logging.INFO)
    for handler in logger.handlers:
        handler.setStream(sys.stdout)


def _reseed() -> None:
    """Seed the global random generators anew; otherwise all forked kernels would share the server's state."""
    import numpy as np

    random.seed()
    np.random.seed()


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this script, from which nothing is to be imported
    serve()
    os._exit(0)  # TensorFlow would take seconds to end
