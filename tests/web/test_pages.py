"""The pages: every text reaches them as text, each page renders in every state, and the forms do what they say."""

import re
from html import unescape
from html.parser import HTMLParser
from threading import Event
from urllib.parse import urlencode

import pytest

from queuectl.application.queue import NewJob
from queuectl.application.schedules import Put, Schedules
from queuectl.application.time_travel import as_of
from queuectl.checks.doctor import Finding
from queuectl.domain import events as e
from queuectl.domain.commands import Exit, Report
from queuectl.errors import StoreError, set_queue_options
from queuectl.runtime import SystemClock
from queuectl.store import past_folds
from queuectl.store.sql.history import History
from queuectl.web import pages, site, views
from queuectl.web.job_list import JobWords
from queuectl.web.templating import environment
from tests.support.builders import a_spec, claimant
from tests.web.client import BEARER, HTML

PAGES = ("/", "/jobs", "/failures", "/schedules", "/workers", "/add")
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "{{7*7}}{% raw %}",
    "javascript:alert(1)",
    "--><script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "<b>\u202ebold\u202c</b>",
    "\x1b[31mred\x1b[0m\x07",
    "<a href=//evil.example>x</a>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<style>*{display:none}</style>",
    "日本語 中文 한국어 🚀 e\u0301",
]


class Tags(HTMLParser):
    """The names of the tags and attributes of a page, and its visible text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.said, self.links = [], set(), [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action", "formaction")]

    def handle_data(self, data):
        self.said.append(data)


def finished(queue, job_id, cause=None, stdout="", stderr=""):
    (job,) = queue.claim(claimant(), (), 1, lambda job: job.id == job_id)
    queue.execute([Report(job.id, job.run, Exit(cause, 1000, stdout, stderr))])


def form(client, path, **fields):
    headers = [("content-type", "application/x-www-form-urlencoded"), *HTML.items()]
    return client.call("POST", path, headers, urlencode(fields, doseq=True).encode())


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_queue_has_every_page(client, page):
    answer = client.get(page)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_reaches_the_page_as_text(client, queue, text):
    plain = Tags("".join(client.get(path).text for path in PAGES))
    queue.enqueue([NewJob(a_spec(text, max_retries=0, tags={"t": text}, cwd=f"/{text}".replace("\x1b", "")), "a")])
    finished(queue, "a", e.Exited(3), text, text)
    assert "✕ 1" in client.get("/failures").text
    assert Tags(client.get("/failures").text).attributes.isdisjoint({"onerror", "onload"})
    Schedules(queue).add(Put("s", e.ScheduleSet(every=60_000_000, tz="UTC", job=a_spec(text))))
    queue.requeue(["a"], text)
    queue.cancel(["a"], text)
    for path in (
        "/",
        "/jobs",
        "/jobs/a",
        "/workers",
        "/failures",
        "/schedules",
        f"/jobs?{urlencode({'q': text})}",
        f"/jobs/{text.replace('/', '_')}",
        f"/?{urlencode({'as_of': text})}",
    ):
        page = client.get(path).text
        found = Tags(page)
        assert "script" not in found.tags[found.tags.index("body") :]
        assert found.attributes.isdisjoint({"onerror", "onload", "onclick"})
        assert not [link for link in found.links if not link.startswith(("/", "#"))]
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page)
        assert set(found.tags) <= set(plain.tags) | {"pre", "h3", "h4", "article", "progress", "g"} | MARKUP
    shown = "".join(Tags(client.get("/jobs/a").text).said)
    assert re.sub("[\x00-\x1f\x80-\x9f\u202a-\u202e]|\\[\\d+m", "", text).strip() in re.sub(
        r"\^\w|\\u20\w\w", "", shown
    )


MARKUP = {
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "b",
    "details",
    "summary",
    "svg",
    "rect",
    "time",
    "code",
    "ol",
    "ul",
    "li",
}
MARKUP |= {
    "defs",
    "pattern",
    "line",
    "title",
    "text",
    "br",
    "fieldset",
    "legend",
    "datalist",
    "option",
    "label",
    "strong",
    "p",
    "div",
}


def test_a_page_of_the_past_has_no_buttons(client, queue):
    queue.enqueue([NewJob(a_spec("true"), "a"), NewJob(a_spec("true"), "b")])
    page = client.get("/jobs?as_of=1").text
    assert '<html lang="en" class="past">' in page
    assert "/do/" not in page
    assert ">a</a>" in page
    assert ">b</a>" not in page


def test_a_time_becomes_the_position_of_that_moment(client, queue):
    queue.enqueue([NewJob(a_spec("true"), "a")])
    assert client.get("/jobs?q=x&as_of=%231").headers["location"] == "/jobs?q=x&as_of=1"
    assert client.get("/?as_of=-0s").headers["location"] == "/?as_of=1"
    assert client.get("/?as_of=never").status == 400
    assert client.get("/?as_of=99").status == 400


def test_a_form_changes_the_jobs_that_are_ticked(client, queue):
    queue.enqueue([NewJob(a_spec("true"), job_id) for job_id in "abc"])
    answer = form(client, "/do/cancel", job=["a", "b"], reason="no", back="/jobs")
    page = client.get(answer.headers["location"]).text
    assert answer.status == 303
    assert "2 jobs cancelled" in page
    assert "queuectl cancel --reason no a b" in unescape(page)
    assert [job["state"] for job in client.get("/api/jobs?sort=created").json()] == [
        "cancelled",
        "cancelled",
        "pending",
    ]


def test_a_form_changes_all_that_match(client, queue):
    queue.enqueue([NewJob(a_spec("true", queue=name)) for name in ("x", "x", "y")])
    assert form(client, "/do/cancel", all="queue:x", back="/jobs").status == 303
    assert queue.store.tables.counts()[-1].jobs == 1
    assert form(client, "/do/cancel", back="/jobs").status == 400


def test_a_refused_change_says_why(client, queue):
    queue.enqueue([NewJob(a_spec("true"), "a")])
    answer = form(client, "/do/retry", job="a", back="/")
    assert answer.status == 409
    assert "cannot retry it" in answer.text
    assert form(client, "/do/nothing").status == 400


def test_a_job_is_added_with_the_form(client, queue):
    answer = form(client, "/do/add", command="echo hi", queue="ci", priority="5", timeout="5m")
    (row,) = client.get("/api/jobs").json()
    assert (row["command"], row["queue"], row["priority"], row["timeout"]) == ("echo hi", "ci", 5, 300)
    assert (
        "queuectl enqueue --queue ci --priority 5 --timeout 5m &#39;echo hi&#39;"
        in client.get(answer.headers["location"]).text
    )
    noted = form(client, "/do/add", command="make &> log", queue="ci")
    assert "so the command would run in the background" in client.get(noted.headers["location"]).text
    wrong = form(client, "/do/add", command="echo again", timeout="soon")
    assert (wrong.status, "echo again" in wrong.text) == (400, True)
    for priority in ("high", "²", "1" * 5000, "--1"):
        assert form(client, "/do/add", command="x", priority=priority).status == 400


def test_jobs_are_found_by_words_and_by_text(client, queue):
    queue.enqueue([NewJob(a_spec("make TEST", queue="ci", tags={"team": "web"}), "a"), NewJob(a_spec("100%_x"), "b")])
    for text, ids in {
        "state:pending queue:ci": "a", "tag:team=web": "a", "test": "a", "0%_": "b", "%": "b", "state:done": "",
        "MAKE": "a"
    }.items():  # fmt: skip
        found = re.findall(r'data-job="(\w)"', client.get(f"/jobs?{urlencode({'q': text})}").text)
        assert found == list(ids), text
    assert "cannot" not in client.get("/jobs?q=state:odd").text
    assert client.get("/jobs?q=state:odd").status == 200


def test_the_filter_reads_quoted_words():
    found = JobWords.of("queue:ci 'two words' state:dlq", 0).wanted
    assert (found.queues, found.text, [state.value for state in found.states]) == (("ci",), "two words", ["dlq"])


def test_pages_of_many_jobs_go_back_to_the_first(client, queue):
    queue.enqueue([NewJob(a_spec("true"), f"job-{number}") for number in range(120)])
    path, seen = "/jobs", []
    while path:
        page = client.get(path).text
        seen += re.findall(r'<tr data-job="job-(\d+)"', page)
        further = re.search(r'href="([^"]*before=[^"]*)"', page)
        path = unescape(further[1]) if further else ""
    assert list(map(int, seen)) == [*range(119, -1, -1)]


def test_a_purged_job_still_has_its_history(client, queue):
    queue.enqueue([NewJob(a_spec("true"), "a")])
    queue.cancel(["a"])
    queue.purge(["a"])
    page = client.get("/jobs/a").text
    assert "purged from the tables" in page
    assert 'formaction="/do/retry"' in page


def test_the_overview_says_what_needs_a_person(client, queue):
    assert "no worker serves" not in client.get("/").text
    queue.enqueue([NewJob(a_spec("true", max_retries=0, queue="ci"), "a"), NewJob(a_spec("true", queue="ci"))])
    finished(queue, "a", e.Exited(1))
    page = client.get("/?notice=0").text
    assert "no worker serves ci" in page
    assert "1 job failed for good" in page


def test_the_attempts_of_a_job_are_shown(client, queue):
    queue.enqueue([NewJob(a_spec("true", max_retries=1, backoff_base=0.0), "a")])
    finished(queue, "a", e.Exited(1), stderr="KeyError\n")
    page = client.get("/jobs/a").text
    assert "retry scheduled" in page
    assert "KeyError" in page
    assert client.get("/api/jobs/a/logs?stream=stderr").text == "KeyError\n"


def test_a_request_for_json_is_no_page(client):
    assert client.get("/jobs/none", BEARER).status == 404


def test_a_signature_is_retried_in_part_or_whole(client, queue):
    queue.enqueue([NewJob(a_spec("true", max_retries=0), f"a{number}") for number in range(12)])
    for number in range(12):
        finished(queue, f"a{number}", e.Exited(3), stderr=f"KeyError {number}\n")
    page = client.get("/failures").text
    (signature,) = re.findall(r'name="signature" value="(\w+)"', page)
    assert "Retry these 12" in page
    answer = form(client, "/do/retry-signature", signature=signature, limit="10", reason="fixed", back="/failures")
    assert (
        f"queuectl retry --sig {signature} --limit 10 --reason fixed --yes"
        in client.get(answer.headers["location"]).text
    )
    assert sorted(job["id"] for job in client.get("/api/jobs?state=dlq").json()) == ["a10", "a11"]
    assert [group["jobs"] for group in client.get("/api/failures").json()] == [2]
    for limit in ("²", "-1", "0", "1" * 5000):
        assert form(client, "/do/retry-signature", signature=signature, limit=limit).status == 400
    assert client.post(f"/api/failures/{signature}/retry", {"reason": "all"}).status == 200
    assert client.post(f"/api/failures/{signature}/retry").status == 404
    assert client.post("/api/failures/odd/retry").status == 400


def test_the_dead_jobs_of_a_signature_are_edited_and_retried(client, queue):
    queue.enqueue([NewJob(a_spec("true", max_retries=0), f"a{number}") for number in range(3)])
    for number in range(3):
        finished(queue, f"a{number}", e.Exited(3), stderr=f"KeyError {number}\n")
    page = client.get("/failures").text
    (signature,) = re.findall(r'name="signature" value="(\w+)"', page)
    given = {"signature": signature, "edited": "yes", "back": "/failures"}
    assert "no change is given" in form(client, "/do/retry-signature", **given).text
    assert len(client.get("/api/jobs?state=dlq").json()) == 3
    answer = form(client, "/do/retry-signature", **given, set="timeout=5m tag.why='a b'", limit="2")
    shown = unescape(client.get(answer.headers["location"]).text)
    assert f"queuectl retry --sig {signature} --limit 2 --set timeout=5m --set 'tag.why=a b' --yes" in shown
    assert "2 jobs pending again, with changes" in shown
    jobs = client.get("/api/jobs?state=pending").json()
    assert [(job["timeout"], job["tags"]) for job in jobs] == [(300, {"why": "a b"})] * 2
    assert client.post(f"/api/failures/{signature}/retry", {"set": ["priority=3"]}).status == 200
    assert [job["priority"] for job in client.get("/api/jobs?state=pending").json()].count(3) == 1


def test_a_schedule_is_run_paused_and_resumed(client, queue):
    Schedules(queue).add(Put("nightly", e.ScheduleSet(every=3_600_000_000, tz="UTC", job=a_spec("echo night"))))
    answer = form(client, "/do/schedule-run", schedule="nightly", back="/schedules")
    assert "queuectl schedule run nightly" in client.get(answer.headers["location"]).text
    assert [job["command"] for job in client.get("/api/jobs").json()] == ["echo night"]
    assert client.post("/api/schedules/nightly/pause").json()["said"] == "paused nightly"
    assert client.get("/api/schedules/nightly").json()["paused_at"] is not None
    assert form(client, "/do/schedule-resume", schedule="nightly").status == 303
    assert client.post("/api/schedules/none/run").status == 404
    assert [row["paused_at"] for row in client.get("/api/schedules").json()] == [None]


def test_a_job_shows_what_it_waits_for_and_its_origin(client, queue):
    queue.enqueue([NewJob(a_spec("make"), "build")])
    waiting = a_spec("deploy", after=(e.After("build", "ok"),))
    copied = a_spec("make", origin=e.Origin("copy", "build", 1), batch="grid")
    queue.enqueue([NewJob(waiting, "deploy"), NewJob(copied, "again")])
    before, behind = (client.get(f"/jobs/{name}").text for name in ("deploy", "build"))
    assert '<ul aria-label="it waits for"><li>' in before
    assert 'href="/jobs/build"' in before
    assert 'href="/jobs/deploy"' in behind[behind.index('aria-label="waits for it"') :]
    queue.enqueue([NewJob(a_spec("make"), f"part-{number}") for number in range(25)])
    parts = tuple(e.After(f"part-{number}", "end") for number in range(25))
    queue.enqueue([NewJob(a_spec("merge", after=parts), "merge")])
    assert "and 5 more" in client.get("/jobs/merge").text
    copy = client.get("/jobs/again").text
    origins = copy[copy.index('id="origins"') :]
    assert "copy of" in origins
    assert 'href="/jobs/build"' in origins
    assert 'href="/jobs?q=batch%3Agrid"' in copy


def test_the_chain_of_origins_ends_at_the_schedule(client, queue):
    queue.enqueue([NewJob(a_spec("a", origin=e.Origin("schedule", "nightly")), "first")])
    queue.enqueue([NewJob(a_spec("a", origin=e.Origin("copy", "first", 1)), "second")])
    queue.enqueue([NewJob(a_spec("a", origin=e.Origin("copy", "second", 2)), "third")])
    shown = client.get("/jobs/third").text
    origins = shown[shown.index('id="origins"') :].split("</p>")[0]
    assert [origins.index(name) for name in ("second", "first", "nightly")] == sorted(
        origins.index(name) for name in ("second", "first", "nightly")
    )
    assert 'href="/schedules"' in origins


def test_selected_jobs_get_a_priority_or_changes(client, queue):
    queue.enqueue([NewJob(a_spec("true"), job_id) for job_id in "abc"])
    answer = form(client, "/do/prioritize", job=["a", "b"], priority="7", back="/jobs")
    assert "queuectl edit a b --priority 7" in unescape(client.get(answer.headers["location"]).text)
    assert form(client, "/do/edit", job=["a"], set="timeout=5m env.DEBUG='a b'", back="/jobs").status == 303
    rows = {job["id"]: job for job in client.get("/api/jobs").json()}
    assert [rows[name]["priority"] for name in "abc"] == [7, 7, 0]
    assert client.get("/api/jobs/a").json()["env"] == {"DEBUG": "a b"}
    assert form(client, "/do/edit", all="queue:default", set="tag.a=b", back="/jobs").status == 303
    assert all(job["tags"] == {"a": "b"} for job in client.get("/api/jobs").json())
    for wrong in ({"set": "", "job": "a"}, {"set": "'x", "job": "a"}, {"set": "timeout=5m"}):
        assert form(client, "/do/edit", **wrong, back="/jobs").status == 400


def test_an_edit_of_many_changes_all_or_none(client, queue):
    queue.enqueue([NewJob(a_spec("true"), job_id) for job_id in "ab"])
    queue.cancel(["b"], "")
    assert form(client, "/do/prioritize", job=["a", "b"], priority="7", back="/jobs").status == 409
    assert client.get("/api/jobs/a").json()["priority"] == 0


def test_retried_failures_show_how_they_do(client, queue):
    queue.enqueue([NewJob(a_spec("false", max_retries=0), "a")])
    finished(queue, "a", e.Exited(1))
    (group,) = client.get("/api/failures").json()
    answer = form(client, "/do/retry-signature", signature=group["signature"], back="/failures")
    where = answer.headers["location"]
    assert 'id="retried" data-live' in client.get(where).text
    assert retried(client, where) == "pending"
    finished(queue, "a", e.Exited(1))
    assert retried(client, where) == "dlq"
    assert 'id="retried"' not in client.get("/failures").text


def test_the_bars_of_the_chart_lead_to_the_jobs_of_their_minute(client, queue):
    queue.enqueue([NewJob(a_spec("true", max_retries=0), name) for name in ("good", "bad", "waits")])
    finished(queue, "good")
    finished(queue, "bad", e.Exited(1))
    until = SystemClock().monotonic() + 20_000_000
    while len(links := ends_of(client.get("/").text)) < 61:  # a bar each, and the minute of the table with the runs
        assert SystemClock().monotonic() < until
    found = client.get(links[-1]).text
    assert re.findall(r'<tr data-job="(\w+)"', found) == ["bad", "good"]
    assert re.findall(r"<b>(\d)</b> <span [^>]*>(\S)", found) == [("1", "✓"), ("1", "✕"), ("0", "↻")]
    assert re.search(r"queuectl list --ended \S+Z\.\.\S+Z", found)
    assert 'data-job="' not in client.get(links[0]).text


def ends_of(page):
    """The links of a page to jobs by the time in which their runs ended."""
    return [link for link in Tags(page).links if link.startswith("/jobs?q=ended")]


def test_a_bar_of_an_earlier_moment_stays_in_it(client, queue):
    queue.enqueue([NewJob(a_spec("true"), name) for name in ("a", "b")])
    finished(queue, "a")
    head = queue.store.log.head().position
    finished(queue, "b")
    links = ends_of(client.get(f"/?as_of={head}").text)
    found = client.get(links[-1]).text
    assert f"as_of={head}" in links[-1]
    assert re.findall(r'<tr data-job="(\w+)"', found) == ["a"]
    assert f"--as-of {head}" in found


def test_all_that_match_are_those_that_ended_then(client, queue):
    queue.enqueue([NewJob(a_spec("true", max_retries=0), name) for name in ("a", "b", "c")])
    for name in "ab":
        finished(queue, name, e.Exited(1))
    assert form(client, "/do/retry", all="ended:-2h..-1h", back="/jobs").status == 400
    assert form(client, "/do/retry", all="ended:-1h.. state:dlq b", back="/jobs").status == 303
    states = {job["id"]: job["state"] for job in client.get("/api/jobs").json()}
    assert states == {"a": "dlq", "b": "pending", "c": "pending"}


def test_a_wrong_time_is_said_on_the_page(client):
    for text in ("ended:never", "ended:-1h..-2h", "ended:"):
        assert 'class="error"' in client.get(f"/jobs?{urlencode({'q': text})}").text


def test_a_signature_is_listed_by_the_command_of_the_page(client, queue):
    queue.enqueue([NewJob(a_spec("true", max_retries=0), "a")])
    finished(queue, "a", e.Exited(1))
    (group,) = client.get("/api/failures").json()
    page = client.get(f"/jobs?q=sig:{group['signature']}").text
    assert f"queuectl list --sig {group['signature']}" in page


def test_every_whole_command_can_be_copied(client, queue):
    queue.enqueue([NewJob(a_spec("true", max_retries=0), "a"), NewJob(a_spec("sleep 1", queue="ci"), "b")])
    finished(queue, "a", e.Exited(1))
    queue.pause("ci")
    Schedules(queue).add(Put("nightly", e.ScheduleSet(every=3_600_000_000, tz="UTC", job=a_spec("true"))))
    for path in ("/", "/jobs", "/jobs/a", "/jobs/b", "/failures", "/schedules", "/workers", "/add"):
        page = client.get(path).text
        lines = re.findall(r'<code class="command"[^>]*>(.*?)</code>(<button [^>]*aria-label="copy ([^"]*)")?', page)
        assert lines or path == "/"
        for line, button, copied in lines:
            assert (line == copied) if button else ("…" in line or "FIELD=VALUE" in line), line
    assert "queuectl resume ci" in client.get("/jobs/b").text


def test_commands_name_the_queue_that_is_served(client, queue, monkeypatch):
    queue.enqueue([NewJob(a_spec("true"), "a")])
    late = Finding("schedules", "problem", "schedule nightly is late", "queuectl run")
    monkeypatch.setattr(views, "late_schedules", lambda _: [late])
    assert "schedule nightly is late" in client.get("/").text
    set_queue_options("--db", "/srv/q.db")
    try:
        for path in ("/", "/jobs", "/jobs/a", "/failures", "/schedules", "/workers", "/add"):
            for line in re.findall(r'<code class="command"[^>]*>(queuectl .*?)</code>', client.get(path).text):
                assert line.startswith("queuectl --db /srv/q.db "), line
    finally:
        set_queue_options()


def test_a_moment_that_takes_long_shows_how_much_is_read(client, queue, monkeypatch):
    queue.enqueue([NewJob(a_spec("true"), f"job-{number}") for number in range(100)])
    monkeypatch.setattr(pages, "PATIENCE", 0)
    monkeypatch.setattr(past_folds, "PART", 10)
    gates, last_moves = [Event() for _ in range(4)], History.last_moves

    def gated(history, *args, **options):
        if options["after"] >= 20:
            gates[(options["after"] - 20) // 20].wait(20)
        return last_moves(history, *args, **options)

    monkeypatch.setattr(History, "last_moves", gated)
    shares = []
    for gate in gates:
        page = eventually_more(client, shares[-1] if shares else -1)
        shares.append(page)
        gate.set()
    assert shares == sorted(set(shares))
    assert 0 < shares[-1] < 100
    assert eventually_read(client).text.count('data-job="job-') == 50


def eventually_more(client, share):
    """The percentage that a page shows, once it is greater."""
    until = SystemClock().monotonic() + 20_000_000
    while SystemClock().monotonic() < until:
        answer = client.get("/jobs?as_of=90")
        assert answer.status == 202
        found = int(re.search(r'id="percent">(\d+) %', answer.text)[1])
        if found > share:
            return found
    raise AssertionError("nothing more was read")


def eventually_read(client):
    until = SystemClock().monotonic() + 20_000_000
    while (answer := client.get("/jobs?as_of=90")).status == 202:
        assert SystemClock().monotonic() < until
    return answer


def test_a_moment_that_could_not_be_read_is_read_again(client, queue, monkeypatch):
    queue.enqueue([NewJob(a_spec("true"), "a")])
    with monkeypatch.context() as away:
        away.setattr(History, "last_moves", lambda *_, **__: (_ for _ in ()).throw(StoreError("the server is away")))
        answer = client.get("/jobs?as_of=1")
        assert (answer.status, "the server is away" in answer.text) == (503, True)
    assert client.get("/jobs?as_of=1").status == 200


def retried(client, where):
    """The state of the only retried job."""
    (state,) = re.findall(r"state-(\w+)", client.get(where).text.split('id="retried"')[1].split("<ul")[0])
    return state


def test_the_last_three_moments_are_remembered(client, queue, monkeypatch):
    queue.enqueue([NewJob(a_spec("true")) for _ in range(5)])
    made = []
    monkeypatch.setattr(site, "past_of", lambda store, text: made.append(text) or as_of(store, text))
    for position in (1, 2, 3, 1, 2, 3):
        assert client.get(f"/jobs?as_of={position}").status == 200
    assert made == ["1", "2", "3"]
    client.get("/jobs?as_of=4")
    client.get("/jobs?as_of=3")
    client.get("/jobs?as_of=1")
    assert made == ["1", "2", "3", "4", "1"]


def test_a_page_that_refreshes_itself_is_made_once_for_all(client, queue, monkeypatch):
    monkeypatch.setattr(pages, "FRESH", 3_600_000_000)
    refresh = {**HTML, pages.REFRESH: "1"}
    first = client.get("/jobs", refresh).text
    queue.enqueue([NewJob(a_spec("true"), "new")])
    assert client.get("/jobs", refresh).text == first
    assert "/jobs/new" in client.get("/jobs", HTML).text
    monkeypatch.setattr(pages, "FRESH", 0)
    queue.enqueue([NewJob(a_spec("true"), "newer")])
    assert "/jobs/newer" in client.get("/jobs", refresh).text


def test_durations_are_written_as_in_the_terminal():
    span = environment().filters["span"]
    assert [span(each) for each in (None, 0.0236, 4.21, 372.9, 93_600)] == ["–", "24ms", "4.2s", "6m12s", "1d2h"]
