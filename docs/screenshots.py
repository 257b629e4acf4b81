"""Makes the pictures of docs/web.md: `python docs/screenshots.py`. It needs playwright and a chromium of the system."""

import json
import shutil
import subprocess  # noqa: TID253
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURES = Path(__file__).parent / "web"
PROGRAM = str(Path(sys.executable).with_name("queuectl"))
SHOTS = (("overview", "/", "light"), ("failures", "/failures", "dark"), ("retried", "/failures", "light"))


def jobs():
    """Jobs of a small queue, some of which fail."""
    yield from ({"command": f"sleep 0.0{n % 9}; echo part {n}", "queue": "encode"} for n in range(40))
    failing = "echo KeyError: \"'N{}'\" >&2; exit 1"
    yield from (
        {"command": failing.format(n), "queue": "reports", "max_retries": n % 2, "backoff_base": 0.1} for n in range(12)
    )
    yield {"command": "ffmpeg -i in.mov out.mp4", "queue": "encode", "max_retries": 0}


def main() -> None:
    """Make a queue, serve it, and take the pictures."""
    folder = tempfile.mkdtemp()

    def run(*words, **options):
        return subprocess.run(
            [PROGRAM, *words], cwd=folder, check=True, capture_output=True, text=True, **options
        ).stdout

    run("enqueue", "--file", "-", input="\n".join(map(json.dumps, jobs())))
    run("run", "--drain", "--concurrency", "4")
    run("enqueue", "--id", "backup", "sleep 60")
    run("enqueue", "--id", "encode.7", "--queue", "encode", "sleep 60")
    run("schedule", "add", "nightly", "0 3 * * *", "make report")
    running = [
        subprocess.Popen([PROGRAM, "run", "--name", "box", "--concurrency", "3"], cwd=folder, stderr=subprocess.DEVNULL)
    ]
    serving = subprocess.Popen(
        [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--allow-enqueue"], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    try:
        take(serving.stdout.readline().strip())
    finally:
        for process in (serving, *running):
            process.terminate()
        time.sleep(1)
        running[0].kill()
        shutil.rmtree(folder, ignore_errors=True)


def retry_some(page) -> None:
    """Retry ten jobs of the first group with changes, and wait until some have ended."""
    form = page.locator("form.actions").first
    form.locator("[name=set]").fill("'command=sleep 1; echo repaired' timeout=5m")
    form.locator("[name=reason]").fill("the parser is repaired")
    form.get_by_role("button", name="Retry 10 first").click()
    page.wait_for_selector("#retried .state-done")
    page.locator("form.actions [name=set]").first.fill("timeout=5m env.DEBUG=1")


def take(url: str) -> None:
    """Take each picture."""
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, path, scheme in SHOTS:
            context = browser.new_context(viewport={"width": 1200, "height": 760}, color_scheme=scheme)
            page = context.new_page()
            page.goto(url)
            page.goto(url.partition("/?")[0] + path)
            if name == "retried":
                retry_some(page)
            page.wait_for_timeout(1500)
            page.screenshot(path=str(PICTURES / f"{name}.png"))
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
