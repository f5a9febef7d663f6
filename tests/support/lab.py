"""A real JupyterLab and a real browser for the tests of notebook 06."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import soundfile
from playwright.sync_api import TimeoutError
from playwright.sync_api import expect

from sernb import runs

ROOT = Path(__file__).parents[2]
# Announcements would be requested from the network, and would cover the notebook.
SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
PATIENCE = 240_000  # ms; a loaded machine is slow
expect.set_options(timeout=PATIENCE / 4)


# Several views of one widget without a kernel: `model` keeps what they send; `deliver` and `put` stand for the kernel.
VIEWS = """async ([script, views, state]) => {
  const listeners = [];
  const call = (name, ...args) => listeners.filter(([event]) => event === name).forEach(([, react]) => react(...args));
  window.model = {
    sent: [],
    get: (name) => state[name],
    on: (names, react) => names.split(" ").forEach((name) => listeners.push([name, react])),
    off: () => {},
    send: (message) => model.sent.push(message),
    deliver: (message) => call("msg:custom", message),
    put: (changes) => {
      Object.assign(state, changes);
      Object.keys(changes).forEach((name) => call(`change:${name}`));
    },
  };
  document.body.replaceChildren();
  const { default: widget } = await import(`/${script}`);
  for (let i = 0; i < views; i++) {
    const el = Object.assign(document.createElement("div"), { id: `view${i}` });
    document.body.append(el);
    widget.render({ model, el });
  }
}"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder at an address of this machine; there, browsers allow the microphone."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def notebook_for_test(folder: Path, **parameters) -> Path:
    """Write a copy of 06 with other parameters, as a user would type them."""
    notebook = nbformat.read(ROOT / "notebooks" / "06_listen.ipynb", as_version=4)
    (cell,) = (cell for cell in notebook.cells if "parameters" in runs.cell_tags(cell))
    lines = [line.split(" = ")[0] for line in cell.source.splitlines()]
    values = runs.notebook_parameters(ROOT / "notebooks" / "06_listen.ipynb") | parameters
    cell.source = "\n".join(f"{name} = {values[name]!r}" for name in lines)
    nbformat.write(notebook, folder / "06_listen.ipynb")
    return folder / "06_listen.ipynb"


def spoken(path: Path, seconds: float = 60.0, rate: int = 48000) -> Path:
    """Write a WAV file for Chromium's simulated microphone: noise in syllables that never repeats."""
    rng = np.random.default_rng(7)
    loudness = np.repeat(rng.uniform(0.02, 0.3, int(seconds * 8)), rate // 8)
    soundfile.write(path, np.convolve(rng.normal(0, 1, len(loudness)) * loudness, [0.5, 0.5], "same"), rate)
    return path


def free_port() -> int:
    with socket.socket() as connection:
        connection.bind(("127.0.0.1", 0))
        return connection.getsockname()[1]


@contextlib.contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """Start JupyterLab in a folder, without the user's settings; yield its address."""
    port, config = free_port(), folder.parent / "config"
    for name, values in SETTINGS.items():
        file = config / "lab" / "user-settings" / Path(*name.split(":")).with_suffix(".jupyterlab-settings")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    options = ["--no-browser", "--allow-root", f"--ServerApp.port={port}", f"--ServerApp.root_dir={folder}"]
    options += ["--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.ip=127.0.0.1"]
    kernels = {"JUPYTER_CONFIG_DIR": str(config), "JUPYTER_RUNTIME_DIR": str(folder.parent / "runtime")}
    kernels |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "JUPYTER_PLATFORM_DIRS": "1"}
    with (folder.parent / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env=os.environ | kernels | {"JUPYTERLAB_SETTINGS_DIR": str(config / "lab" / "user-settings")},
            stdout=log,
            stderr=log,
            cwd=folder,
        )
        try:
            _wait(f"http://127.0.0.1:{port}/api", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(timeout=PATIENCE / 1000)


def _wait(address: str, server: subprocess.Popen) -> None:
    for _ in range(240):
        assert server.poll() is None, "JupyterLab ended before it answered"
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(address, timeout=2)
            return
        time.sleep(0.5)
    raise AssertionError(f"{address} does not answer")


def browser_flags(microphone: Path) -> list[str]:
    return [
        "--no-sandbox",
        "--disable-background-networking",
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
    ]


def run_all(page) -> None:
    """Run every cell by the menu, as a user does; a click before the kernel has started has no effect."""
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for(timeout=PATIENCE)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=PATIENCE)
    for _ in range(5):
        page.locator("li.lm-MenuBar-item", has_text="Run").click()
        page.locator("li.lm-Menu-item[data-command='runmenu:run-all']").click()
        with contextlib.suppress(TimeoutError):
            page.locator(".jp-InputPrompt", has_text=re.compile(r"\*|\d")).first.wait_for(timeout=8000)
            return
    raise AssertionError("no cell has run")


def wait_until_idle(page) -> None:
    """Wait until no cell is waiting or running."""
    page.wait_for_function(
        """() => document.querySelector(".jp-Notebook-ExecutionIndicator")?.dataset.status === "idle"
            && ![...document.querySelectorAll(".jp-InputPrompt")].some(prompt => prompt.textContent.includes("*"))""",
        timeout=PATIENCE,
    )


def to(page, locator) -> None:
    """Scroll to an element; the notebook's height changes in the meantime."""
    for _ in range(3):
        locator.scroll_into_view_if_needed()
        page.wait_for_timeout(150)
