"""A process that imports the large libraries once and forks itself for each kernel: a script, see `kernels`.

It reads a line of JSON for each kernel (command, environment, working directory) and answers with the kernel's process
id. It ends when its standard input does, or when it has had nothing to do for two minutes. Nothing of `sernb` is
imported here: a kernel imports that itself, from where its notebook would.
"""

import contextlib
import importlib
import json
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
    "pandas",
    "ipykernel.kernelapp",
)
IDLE_SECONDS = 120


def serve() -> None:
    """Import the libraries, then start kernels until nobody wants more."""
    answers = os.fdopen(os.dup(1), "w")  # kept apart from what a library may print
    errors, nowhere = os.dup(2), os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)  # TensorFlow writes there, whatever level of messages is asked for
    for module in MODULES:
        with contextlib.suppress(ImportError):  # the notebook that needs it reports it
            importlib.import_module(module)
    os.dup2(errors, 2)
    kernels: set[int] = set()
    idle = 0
    while idle < IDLE_SECONDS:
        kernels -= set(_ended(kernels))
        idle = 0 if kernels else idle + 1
        if select.select([0], [], [], 1)[0]:
            idle = 0
            line = _read_line()
            if not line:
                return
            pid = os.fork()
            if pid == 0:
                answers.close()
                _become_kernel(**json.loads(line))
            kernels.add(pid)
            print(pid, file=answers, flush=True)


def _read_line() -> bytes:
    """Read to the end of a line, and no further: what a buffer held, `select` would not see."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return line


def _ended(kernels: set[int]) -> list[int]:
    return [pid for pid in kernels if os.waitpid(pid, os.WNOHANG)[0]]


def _become_kernel(command: list[str], environment: dict[str, str], folder: str) -> None:
    """Turn this fork into the kernel that `command` would start."""
    parent = os.getppid()
    status = 1
    try:
        os.setsid()  # as jupyter_client does: an interrupt of the terminal is not the kernel's
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        _reseed()
        from ipykernel.kernelapp import IPKernelApp

        sys.argv = [*command, f"--IPKernelApp.parent_handle={parent}"]  # it ends when the server does
        arguments = sys.argv[sys.argv.index("ipykernel_launcher") + 1 :]
        IPKernelApp.launch_instance(arguments)
        status = 0
    finally:
        os._exit(status)


def _reseed() -> None:
    """Give each kernel random numbers of its own, as a fresh process has."""
    import numpy as np

    random.seed()
    np.random.seed()


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this script, from which nothing is to be imported
    serve()
    os._exit(0)  # TensorFlow would take seconds to end
