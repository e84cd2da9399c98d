"""A chapter as a reader meets it: JupyterLab with its ordinary kernel, in a real (headless) Chromium.

Needs jupyterlab and playwright (both in the `dev` extra) and a Chromium: the one that LANDMARK_THESIS_CHROMIUM names, else a system one
(Debian: apt install chromium), else playwright's own (playwright install chromium). `why_not` says what is missing, and a test without it is
skipped; where LANDMARK_THESIS_BROWSER=required, as in the workflow that installs it, it fails. LANDMARK_THESIS_SCREENSHOTS names a folder that
keeps the screenshots.
"""

import importlib.util
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent

# What console and stderr may say although nothing is wrong with a chapter; each with its reason.
ALLOWED = {
    r"favicon": "JupyterLab's icon while the page is torn down",
    r"ResizeObserver loop": "the browser's note that a layout took two rounds",
    r"/api/contents/[^ ]*\.ipynb_checkpoints|/checkpoints": "a new copy of a notebook has no checkpoint yet",
    r"Premature end of JPEG file": "chapter 03 shows what becomes of half a picture",
    r"workspaces/": "a first visit has no workspace to restore",
    r"jp-pluginmanager|Failed to load resource: the server responded with a status of 404.*(extensions|translations|listings)": "optional parts that are not installed",
}

SETTINGS = {  # every cell in the page (not only those in sight), no news
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


def _allowed(text: str) -> bool:
    return any(re.search(pattern, text) for pattern in ALLOWED)


def chromium() -> str | None:
    """The browser to start, or None for playwright's own."""
    named = os.environ.get("LANDMARK_THESIS_CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def why_not() -> str | None:
    """What is missing for a test in the browser, or None."""
    for package in ("jupyterlab", "playwright"):
        if importlib.util.find_spec(package) is None:
            return f"needs {package}: pip install -e '.[dev]'"
    if chromium() is None:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            if not Path(playwright.chromium.executable_path).exists():
                return "needs Chromium: apt install chromium, or playwright install chromium"
    return None


def need() -> None:
    """Skip the test where something is missing; fail it where somebody promised that nothing is."""
    if reason := why_not():
        (pytest.fail if os.environ.get("LANDMARK_THESIS_BROWSER") == "required" else pytest.skip)(reason)


def _environment(folder: Path) -> dict[str, str]:
    """The server's: our package, phantoms, settings and temporary files of its own; Jupyter's inline pictures."""
    left_out = {"LANDMARK_THESIS_DATA", "MPLBACKEND", "IN_CI"}
    kept = {key: value for key, value in os.environ.items() if key not in left_out and not key.startswith("JUPYTER")}
    for name in ("config", "runtime", "tmp", "ipython"):
        (folder / name).mkdir()
    for plugin, values in SETTINGS.items():
        path = folder / "config" / "lab" / "user-settings" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
        "TMPDIR": str(folder / "tmp"),
    }


@contextmanager
def jupyter_lab(folder: Path) -> Iterator[str]:
    """JupyterLab on a free port of this machine, over a copy of the chapters in `folder`/nbs; gives its address, with a %s for the notebook."""
    shutil.copytree(ROOT / "nbs", folder / "nbs", ignore=shutil.ignore_patterns("_*", ".*", "__pycache__"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder / 'nbs'}",
    ]  # fmt: skip
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(command, cwd=folder, env=_environment(folder), stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, folder / "server.log")
        yield f"http://127.0.0.1:{port}/lab/tree/%s?reset&token={token}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(url: str, server: subprocess.Popen, log: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


CONNECTED = """async () => {
    const open = await (await fetch(location.origin + '/api/sessions')).json();
    const known = !document.querySelector('.jp-NotebookPanel-toolbar')?.textContent.includes('No Kernel');  // to the page, too
    return known && open.length === 1 && open[0].kernel.connections > 0 && open[0].kernel.execution_state === 'idle';
}"""  # before that, "Run All Cells" asks for a kernel, and what it began is lost when one comes by itself


def _lines_of(error) -> list[str]:
    """The lines that a traceback points at: an assertion has no other words."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    return [line.split(maxsplit=2)[-1] for line in plain.splitlines() if re.match(r"-+> \d", line)]


class Chapter:
    """One notebook in one page. `page` is playwright's; `complaints` is what page and console said that is not allowed."""

    def __init__(self, browser, address: str, path: Path) -> None:
        self.path, self.name, self.complaints = path, path.stem, []
        self.page = browser.new_page(viewport={"width": 1440, "height": 1000})
        self.page.on("pageerror", lambda error: self._note(f"page error: {error.stack or error}"))
        self.page.on("console", lambda message: message.type == "error" and self._note(f"console: {message.text} ({message.location.get('url', '')})"))
        self.page.goto(address % path.name)
        self.page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=120_000)
        self.page.wait_for_function(CONNECTED, timeout=120_000, polling=250)

    def _note(self, text: str) -> None:
        if not _allowed(text):
            self.complaints.append(text)

    def run_all(self, seconds: float) -> None:
        """Run > Run All Cells, as a reader does, and wait until no cell waits any more."""
        from playwright.sync_api import TimeoutError

        begun = "() => [...document.querySelectorAll('.jp-Notebook .jp-InputPrompt')].some(prompt => /[*0-9]/.test(prompt.textContent))"
        rests = """() => {
            const waiting = [...document.querySelectorAll('.jp-Notebook .jp-InputPrompt')].some(prompt => prompt.textContent.includes('*'));
            return document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle' && !waiting;
        }"""
        for patience in (2, 5, 10, 30):  # JupyterLab shows the menu before its commands are there
            try:
                self.page.locator('.lm-MenuBar-itemLabel:text-is("Run")').click()
                self.page.locator('.lm-Menu-itemLabel:text-is("Run All Cells")').click()
            except TimeoutError:
                self.screenshot("covered")
                raise AssertionError(f"{self.name}: no way to the menu; JupyterLab asks: {self.page.locator('.jp-Dialog').all_inner_texts()}") from None
            try:
                self.page.wait_for_function(begun, timeout=1000 * patience)
            except TimeoutError:
                self.page.keyboard.press("Escape")
                continue
            try:
                self.page.wait_for_function(rests, timeout=1000 * seconds, polling=250)
            except TimeoutError:
                self.screenshot("stuck")
                prompts = self.page.locator(".jp-Notebook .jp-InputPrompt").all_inner_texts()
                raise AssertionError(f"{self.name}: not through after {seconds:g} s; cells: {' '.join(prompts)}") from None
            if self.page.evaluate(begun):  # else JupyterLab has drawn the notebook anew, and the cells that waited are gone
                return
        raise AssertionError(f"{self.name}: no cell ran")

    def saved(self) -> nbformat.NotebookNode:
        """The notebook as the browser saves it, with all its outputs."""
        before = self.path.stat().st_mtime_ns
        self.page.locator('.lm-MenuBar-itemLabel:text-is("File")').click()
        self.page.locator('.lm-Menu-itemLabel:text-is("Save Notebook")').click()
        end = time.monotonic() + 30
        while self.path.stat().st_mtime_ns == before and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(0.2)
        return nbformat.read(self.path, as_version=4)

    def problems(self) -> list[str]:
        """Everything a reader would call broken: error outputs, stderr, widgets without a model, errors of page and console."""
        page, found = self.page, list(self.complaints)
        for cell in self.saved().cells:
            if cell.cell_type == "code" and cell.source.strip():
                errors = [output for output in cell.outputs if output.output_type == "error"]
                found += [f"error output: {error.ename}: {error.evalue} {_lines_of(error)}" for error in errors]
                told = [output.text for output in cell.outputs if output.get("name") == "stderr"]
                found += [f"a red box: {text[:200]!r}" for text in told if not _allowed(text)]
                if not errors and cell.execution_count is None:
                    found.append(f"never ran: {cell.source[:60]!r}")
        for words in ("Error displaying widget", "Loading widget", "Click to show javascript error", "model not found"):
            count = page.locator(f'.jp-OutputArea-output:has-text("{words}")').count()
            found += [f"{count} outputs say '{words}'"] * (count > 0)
        return [f"{self.name}: {problem}" for problem in found]

    def close(self) -> None:
        """Shut the kernel down and leave the page."""
        sessions = self.page.evaluate("""async () => {
            const root = location.origin + '/api/sessions', xsrf = (document.cookie.match(/_xsrf=([^;]*)/) ?? [])[1] ?? '';
            const open = await (await fetch(root)).json();
            for (const { id } of open) await fetch(`${root}/${id}`, { method: 'DELETE', headers: { 'X-XSRFToken': xsrf } });
            return open.length;
        }""")
        assert sessions == 1, f"{sessions} kernels were open"
        self.page.close()

    def screenshot(self, title: str, selector: str | None = None) -> None:
        """Keep a picture of the page, or of the first element of a selector, where LANDMARK_THESIS_SCREENSHOTS says; else do nothing."""
        folder = os.environ.get("LANDMARK_THESIS_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            target = self.page if selector is None else self.page.locator(selector).first
            target.screenshot(path=Path(folder) / f"{self.name}_{title}.png")

    def tour(self, most: int = 10) -> None:
        """Keep pictures of pages from top to bottom, `most` of them evenly spread, where LANDMARK_THESIS_SCREENSHOTS says; else do nothing."""
        if not os.environ.get("LANDMARK_THESIS_SCREENSHOTS"):
            return
        panel = self.page.locator(".jp-NotebookPanel .jp-WindowedPanel-outer").first
        height, page = panel.evaluate("panel => [panel.scrollHeight, panel.clientHeight]")
        pages = min(most, 1 + int(height / page))
        for number in range(pages):
            panel.evaluate("(panel, top) => panel.scrollTo(0, top)", number * (height - page) / max(1, pages - 1))
            self.screenshot(f"{number:02d}")


@contextmanager
def opened(folder: Path) -> Iterator:
    """A server and a browser: a function that opens the chapter of a name."""
    from playwright.sync_api import sync_playwright

    with jupyter_lab(folder) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        try:
            yield lambda name: Chapter(browser, address, folder / "nbs" / f"{name}.ipynb")
        finally:
            browser.close()
