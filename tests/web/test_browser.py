"""The ten actions in a real browser, each at most two clicks from the overview, and the feed across a restart.

They need playwright (`pip install playwright`; no browser of its own) and a chromium of the system.
"""

import os
import shutil
from signal import SIGTERM

import pytest

from tests.support.command_line import eventually

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TOKEN = "a-token-of-the-tests"
MUST_RUN = "QUEUECTL_TEST_BROWSER"
"""Set where these tests may not be skipped."""


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        assert MUST_RUN not in os.environ, "these tests must run here: install chromium"
        pytest.skip("there is no chromium here: apt install chromium")
    if MUST_RUN not in os.environ:
        pytest.importorskip("playwright", reason="there is no playwright here: pip install 'queuectl[test-web]'")
    from playwright import sync_api as playwright

    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture
def serve(queuectl, tmp_path):
    """Starts a server at a port that stays the same."""
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    tokens.chmod(0o600)
    port = ["0"]

    def started():
        options = ("--listen", f"127.0.0.1:{port[0]}", "--allow-enqueue", "--token-file", str(tokens))
        server = queuectl.start("serve", *options)
        url = eventually(lambda: server.stdout.read_text().strip(), "the URL", 30)
        port[0] = url.rstrip("/").rpartition(":")[2]
        return server, url

    return started


@pytest.fixture
def page(browser, queuectl, serve):
    """The overview of a queue with a dead, a running, a waiting and a scheduled job."""
    queuectl.add("--id", "dead", "--max-retries", "0", "echo KeyError >&2; exit 1")
    queuectl.drain()
    queuectl.add("--id", "runs", "for i in 1 2 3; do echo line $i; sleep 0.2; done; sleep 300")
    queuectl.start("run", "--queue", "default", "--name", "box")
    eventually(lambda: queuectl.state("runs") == "processing", "the job runs")
    queuectl.add("--id", "waits", "--queue", "other", "true")
    queuectl.ok("schedule", "add", "nightly", "0 3 * * *", "true")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    found = context.new_page()
    found.set_default_timeout(20_000)
    faults = []
    found.on("pageerror", lambda error: faults.append(str(error)))
    found.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    found.goto(f"{serve()[1]}?token={TOKEN}")
    found.wait_for_selector("#live:has-text('live')")
    yield found
    context.close()
    assert faults == []


def types(queuectl, job_id):
    return queuectl.types(job_id)


def seen(page):
    """The positions of the events that the page has got."""
    return page.evaluate("window.queuectlSeen")


def test_a_job_is_opened_and_its_output_followed(page, queuectl):
    page.click("#running a.job:has-text('for i in')")
    page.wait_for_selector("#panel #stdout:has-text('line 3')")
    assert "queuectl logs -f runs" in page.inner_text("#panel")
    page.keyboard.press("Escape")
    assert page.is_hidden("#panel")


def test_a_job_is_cancelled_with_a_reason(page, queuectl):
    page.click("#running a.job")
    page.fill("#panel input[name=reason]", "wrong branch")
    page.click("#panel button:has-text('Cancel')")
    assert "queuectl cancel --reason 'wrong branch' runs" in page.inner_text(".notice")
    eventually(lambda: queuectl.state("runs") == "cancelled", "the job is cancelled", 30)
    assert queuectl.events("cancel_requested")[0]["reason"] == "wrong branch"


def test_a_dead_job_is_retried(page, queuectl):
    page.click("#now a.job:has-text('dead')")
    page.click("#panel button:has-text('Retry')")
    assert "queuectl retry dead" in page.inner_text(".notice")
    assert "requeued" in types(queuectl, "dead")


def test_a_dead_job_is_retried_with_changes(page, queuectl):
    page.click("#now a.job:has-text('dead')")
    page.fill("#panel textarea[name=set]", "command=echo repaired\ntimeout=5m")
    page.click("#panel button:has-text('with these changes')")
    assert "--set 'command=echo repaired'" in page.inner_text(".notice")
    assert queuectl.show("dead")["command"] == "echo repaired"


def test_a_queue_is_paused_and_resumed(page, queuectl):
    page.click("button[aria-label='Pause other']")
    assert "queuectl pause other" in page.inner_text(".notice")
    page.click("button[aria-label='Resume other']")
    assert "queuectl resume other" in page.inner_text(".notice")
    assert len(queuectl.events("queue_paused")) == len(queuectl.events("queue_resumed")) == 1


def test_a_signature_is_retried(page, queuectl):
    page.click("nav a:has-text('Failures')")
    page.click("button:has-text('Retry this job')")
    assert "queuectl retry --sig" in page.inner_text(".notice")
    assert "requeued" in types(queuectl, "dead")


def test_a_schedule_is_run_now(page, queuectl):
    page.click("nav a:has-text('Schedules')")
    page.click("button:has-text('Run now')")
    assert "queuectl schedule run nightly" in page.inner_text(".notice")
    assert [event["manual"] for event in queuectl.events("schedule_fired")] == [True]


def test_the_page_goes_back_in_time_and_returns(page):
    page.fill("input[name=as_of]", "#1")
    page.click("button:has-text('Go')")
    page.wait_for_selector(".past-line")
    assert "1 pending" in page.inner_text("#summary")
    assert page.locator("form[action^='/do/']").count() == 0
    page.click("text=event ▶")
    assert "#2" in page.inner_text(".past-line")
    page.click("text=Back to now")
    page.wait_for_selector("#live")


def test_a_job_is_added(page, queuectl):
    page.click("text=+ Add a job")
    page.fill("textarea[name=command]", "echo from the page")
    page.click("button:has-text('Add')")
    assert "queuectl enqueue" in page.inner_text(".notice")
    assert queuectl.json("list")[0]["command"] == "echo from the page"


def test_the_page_shows_what_happens_without_a_reload(page, queuectl):
    queuectl.add("--id", "brand-new", "--queue", "other", "true")
    page.wait_for_selector("#now a.job:has-text('brand-new')")


def test_a_bar_leads_to_the_jobs_of_its_minute(page):
    bar = page.locator("#chart a[aria-label*='1 failed']")
    bar.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#ended")
    assert page.locator("tr[data-job]").count() == 1
    assert "✕ failed" in page.inner_text("tr[data-job=dead]")
    page.click("text=what still ran then")
    page.wait_for_url("**/jobs?q=state*")


def test_a_command_is_copied_and_announced(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("nav a:has-text('Failures')")
    button = page.locator(".copy").first
    line = page.locator("code.command").first.inner_text()
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(f"#said:has-text('copied {line}')", state="attached")
    assert page.evaluate("navigator.clipboard.readText()") == line
    assert button.get_attribute("data-copied") is not None
    assert page.evaluate("document.activeElement.className") == "copy script"
    page.wait_for_selector(".copy[data-copied]", state="detached")


def test_a_command_is_copied_without_a_clipboard_of_the_page(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.add_init_script("navigator.clipboard.writeText = () => Promise.reject()")
    page.click("nav a:has-text('Failures')")
    page.locator(".copy").first.click()
    page.wait_for_selector("#said:has-text('copied queuectl')", state="attached")
    assert page.evaluate("navigator.clipboard.readText()").startswith("queuectl ")


def test_an_early_moment_shows_how_much_is_read(page):
    answers = iter((12, 57))

    def slow(route):
        percent = next(answers, None)
        if percent is None or "as_of" not in route.request.url:
            return route.continue_()
        shown = (
            f'<body data-position="9"><b id="live"></b><form class="time"></form><section id="reading">'
            f'<progress id="share" max="100" value="{percent}"></progress><b id="percent">{percent} %</b></section>'
            '<script type="module" src="/static/queuectl.js"></script>'
        )
        return route.fulfill(status=202, content_type="text/html", body=shown)

    page.route("**/?as_of=1", slow)
    page.goto(page.url.partition("/?")[0].rstrip("/") + "/?as_of=1")
    page.wait_for_selector(".past-line")
    assert next(answers, None) is None


def test_a_drag_over_the_chart_zooms(page):
    box = page.locator("#chart svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.999, box["y"] + 30, steps=4)
    page.mouse.up()
    page.wait_for_url("**/?from=*")
    assert page.locator("#chart a[aria-label*='1 failed']").count() == 1
    shown = [int(page.locator("#chart").get_attribute(f"data-{name}")) for name in ("from", "to")]
    assert 1700 < shown[1] - shown[0] < 1900
    page.click("#chart h2 a")
    page.wait_for_selector("#chart h2:has-text('Last hour')")


def test_retried_failures_are_watched(page, queuectl):
    page.click("nav >> text=Failures")
    page.click("text=Retry this job")
    page.wait_for_selector("#retried .state-pending")
    queuectl.start("run", "--once", "--queue", "default")
    page.wait_for_selector("#retried .state-dlq")


def test_selected_jobs_get_a_priority(page, queuectl):
    page.click("nav >> text=Jobs")
    page.check("tr[data-job=waits] input")
    page.fill("#priority", "5")
    page.click("text=Set priority")
    page.wait_for_selector(".notice:has-text('queuectl edit waits --priority 5')")
    assert queuectl.json("show", "waits")["priority"] == 5


def test_enter_in_a_field_is_the_button_next_to_it(page, queuectl):
    page.click("nav >> text=Jobs")
    page.check("tr[data-job=waits] input")
    page.fill("#selection input[name=reason]", "urgent")
    page.press("#selection input[name=reason]", "Enter")
    page.fill("#priority", "5")
    page.press("#priority", "Enter")
    page.wait_for_selector(".notice:has-text('queuectl edit waits --priority 5')")
    assert types(queuectl, "waits") == ["enqueued", "amended"]


def test_the_last_word_of_a_filter_is_completed(page):
    page.click("nav >> text=Jobs")
    page.type("#filter", "state:dlq que")
    words = page.eval_on_selector_all("#hints option", "all => all.map((each) => each.value)")
    assert {"state:dlq queue:other", "state:dlq state:held", "state:dlq ended:-10m.."} <= set(words)


def test_the_page_behind_an_open_panel_is_live(page, queuectl):
    page.click("#running a.job")
    page.wait_for_selector("#panel #job")
    queuectl.add("--id", "brand-new", "--queue", "other", "true")
    page.wait_for_selector("#now a.job:has-text('brand-new')", state="attached")
    assert page.locator("#panel [data-job=runs]").count() == 1


def test_the_page_works_without_javascript(page, browser, queuectl):
    base = page.url.partition("/?")[0].rstrip("/")
    context = browser.new_context(java_script_enabled=False, storage_state=page.context.storage_state())
    plain = context.new_page()
    plain.goto(base)
    plain.click("button[aria-label='Pause other']")
    assert "queuectl pause other" in plain.inner_text(".notice")
    plain.click("nav >> text=Jobs")
    plain.check("tr[data-job=waits] input")
    plain.click("button:has-text('Cancel')")
    assert "waits cancelled" in plain.inner_text(".notice")
    assert plain.locator(".copy:visible").count() == 0
    plain.fill("input[name=as_of]", "#1")
    plain.click("button:text-is('Go')")
    assert "#1" in plain.inner_text(".past-line")
    context.close()


def test_a_job_links_to_those_before_and_behind_it(page, queuectl):
    queuectl.add("--id", "next", "--after", "waits", "true")
    page.click("nav >> text=Jobs")
    page.click("tr[data-job=next] a.job")
    page.click("#panel #relations a:has-text('waits')")
    page.wait_for_selector("#panel [data-job=waits] #relations a:has-text('next')")


def test_the_feed_misses_nothing_over_a_restart(browser, queuectl, serve):
    queuectl.add("true")
    server, url = serve()
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{url}?token={TOKEN}")
    page.wait_for_selector("#live:has-text('live')")
    first = queuectl.position()
    for number in range(5):
        queuectl.add("--id", f"before-{number}", "true")
    eventually(lambda: first + 5 in seen(page), "five events", 30)
    server.signal(SIGTERM)
    server.ended()
    queuectl.add("--id", "meanwhile", "true")
    serve()
    queuectl.add("--id", "after", "true")
    last = queuectl.position()
    eventually(lambda: last in seen(page), "the events after the restart", 60)
    assert seen(page) == [*range(first + 1, last + 1)]
    context.close()


@pytest.mark.parametrize("width", [360, 1024, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_the_window(page, browser, scheme, width):
    base = page.url.partition("/?")[0].rstrip("/")
    state = page.context.storage_state()
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, storage_state=state)
    shown = context.new_page()
    for path in ("/", "/jobs", "/jobs/dead", "/failures", "/schedules", "/workers", "/add"):
        shown.goto(base + path)
        assert shown.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, path
        assert shown.evaluate(CONTRAST) == [], path
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(page, browser, scheme, queuectl):
    pytest.importorskip("axe_playwright_python", reason="pip install 'queuectl[test-web]'")
    from axe_playwright_python.sync_playwright import Axe

    queuectl.add("--id", "next", "--after", "waits", "true")
    base = page.url.partition("/?")[0].rstrip("/")
    context = browser.new_context(color_scheme=scheme, storage_state=page.context.storage_state())
    shown, found = context.new_page(), {}
    for path in ("/", "/jobs", "/jobs/dead", "/jobs/next", "/failures", "/schedules", "/workers", "/add", "/?as_of=3"):
        shown.goto(base + path)
        report = Axe().run(shown).response
        assert report["passes"]
        found[path] = [f"{each['id']}: {node['html']}" for each in report["violations"] for node in each["nodes"]]
    context.close()
    assert {path: faults for path, faults in found.items() if faults} == {}


CONTRAST = """() => {
  const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = rgb(getComputedStyle(node).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const node of document.querySelectorAll('body *')) {
    const text = [...node.childNodes].some((each) => each.nodeType === 3 && each.textContent.trim());
    if (!text || !node.checkVisibility() || node.disabled || node.closest('svg')) continue;
    const one = luminance(rgb(getComputedStyle(node).color)), two = luminance(behind(node));
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    const said = node.textContent.trim().slice(0, 30);
    if (ratio < 4.5) bad.push(`${node.tagName}.${node.className} ${ratio.toFixed(2)}: ${said}`);
  }
  return bad;
}"""
"""The texts whose contrast is below that of WCAG AA."""
