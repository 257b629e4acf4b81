"""`enqueue --each`, `--batch` and `--dry-run`: what is added, how it is quoted, what is refused."""

import json
import shlex

import pytest

from tests.support.command_line import Queuectl, assert_error, query

GRID = ("--each", "--batch", "grid", "train --lr {lr} --layers {layers}")
SOURCES = (":::", "lr=0.1", "0.01", ":::", "layers=2", "4", "8")


def write(queuectl: Queuectl, name: str, text: str | bytes) -> str:
    (queuectl.folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return name


def commands(queuectl: Queuectl, *arguments: str, **options: str) -> list[str]:
    """The commands that an `enqueue --each` would add."""
    jobs = json.loads(queuectl.ok("enqueue", "--dry-run", "--json", "--each", *arguments, **options))
    return [job["command"] for job in jobs]


def test_a_grid_is_one_line_and_its_ids_have_numbers(queuectl: Queuectl) -> None:
    done = queuectl("enqueue", *GRID, *SOURCES)
    assert done.out.split() == [f"grid.{number}" for number in range(1, 7)]
    assert "batch grid: 6 jobs\n" in done.err
    pairs = [(lr, layers) for lr in ("0.1", "0.01") for layers in ("2", "4", "8")]
    rows = queuectl.json("list", "--sort", "created")
    assert [row["command"] for row in rows] == [f"train --lr {lr} --layers {layers}" for lr, layers in pairs]
    [opened] = queuectl.events("batch_opened")
    assert opened["stream_id"] == "$batch:grid"
    assert {name: opened[name] for name in ("jobs", "template", "sources")} == {
        "jobs": 6,
        "template": "train --lr {lr} --layers {layers}",
        "sources": ["::: lr=0.1 0.01", "::: layers=2 4 8"],
    }
    added = queuectl.events("enqueued")
    assert [(event["batch"], event["seq"]) for event in added] == [("grid", n) for n in range(1, 7)]


def test_the_same_sweep_again_adds_nothing(queuectl: Queuectl) -> None:
    ids = queuectl.ok("enqueue", *GRID, *SOURCES)
    head = queuectl.ok("head")
    again = queuectl("enqueue", *GRID, *SOURCES)
    assert (again.out.strip(), again.err) == (ids, "batch grid: 0 new of 6 jobs\n")
    assert queuectl.ok("head") == head


def test_a_longer_source_adds_what_is_new_and_no_other(queuectl: Queuectl) -> None:
    queuectl.ok("enqueue", *GRID, *SOURCES)
    more = queuectl("enqueue", *GRID, ":::", "lr=0.1", "0.01", "0.5", *SOURCES[3:])
    assert (len(more.out.split()), more.err.splitlines()[0]) == (9, "batch grid: 3 new of 9 jobs")
    assert [event["jobs"] for event in queuectl.events("batch_opened")] == [6, 3]
    head = queuectl.ok("head")
    changed = queuectl("enqueue", *GRID, ":::", "lr=0.1", "0.7", *SOURCES[3:])
    assert_error(changed, 4, "4", "grid.4 is taken by a job with a different command")
    assert queuectl.ok("head") == head


def test_a_batch_without_a_name_gets_one(queuectl: Queuectl) -> None:
    one, other = (queuectl("enqueue", "--each", "echo {}", ":::", "a") for _ in range(2))
    name = one.out.strip().removesuffix(".1")
    assert len(name) == len("b-123456")
    assert f"batch {name}: 1 job\n" in one.err
    assert one.out != other.out


def test_values_reach_a_program_and_a_shell_as_they_are(queuectl: Queuectl) -> None:
    values = [
        "",
        " a  b ",
        "-n",
        "$(touch hacked)",
        "`id`",
        "it's",
        '"',
        "*",
        "\\",
        "ä\N{GRINNING FACE}",
        "a=b",
        "a\nb",
    ]
    queuectl.ok("enqueue", "--each", "--batch", "sh", "printf %s {}", ":::", *values)
    queuectl.ok("enqueue", "--each", "--batch", "argv", "--", "printf", "%s", "{}", ":::", *values)
    queuectl.drain("--concurrency", "4")
    for batch in ("sh", "argv"):
        assert [queuectl.show(f"{batch}.{n}")["stdout"] for n in range(1, len(values) + 1)] == values
    assert not (queuectl.folder / "hacked").exists()


def test_a_job_knows_its_batch_and_its_number(queuectl: Queuectl) -> None:
    line = 'echo {{}} "$QUEUECTL_BATCH $QUEUECTL_SEQ"; true {}'
    queuectl.ok("enqueue", "--each", "--batch", "grid", line, ":::", "a", "b")
    queuectl.ok("enqueue", "--id", "alone", "echo ${QUEUECTL_BATCH-none} ${QUEUECTL_SEQ-none}")
    queuectl.drain()
    assert [queuectl.show(name)["stdout"] for name in ("grid.1", "grid.2")] == ["{} grid 1\n", "{} grid 2\n"]
    assert queuectl.show("alone")["stdout"] == "none none\n"
    assert "batch grid, number 2" in queuectl.ok("history", "grid.2")


def test_options_take_placeholders(queuectl: Queuectl) -> None:
    (queuectl.folder / "d1").mkdir()
    (queuectl.folder / "d2").mkdir()
    options = ("--id", "job-{n}", "--tag", "host={1/}", "--env", "N={#}", "--cwd", "d{n}", "--unique", "k{n}")
    queuectl.ok("enqueue", "--each", *options, "pwd; echo $N {1}", ":::", "a/x", "b/y", ":::+", "n=1", "2")
    queuectl.drain()
    jobs = [queuectl.show(f"job-{n}") for n in (1, 2)]
    assert [job["stdout"] for job in jobs] == [f"{queuectl.folder}/d1\n1 a/x\n", f"{queuectl.folder}/d2\n2 b/y\n"]
    assert [job["tags"] for job in jobs] == [{"host": "x"}, {"host": "y"}]


# ── sources ─────────────────────────────────────────────────────────────────────────────────────────


def test_each_job_of_a_sweep_waits_for_one_of_another(queuectl: Queuectl) -> None:
    queuectl.ok("enqueue", "--each", "--batch", "first", "true {}", ":::", "a", "b")
    queuectl.ok("enqueue", "--each", "--batch", "next", "--after", "first.{#}:end", "true {}", ":::", "a", "b")
    after = [[{"job": "first.1", "on": "end"}], [{"job": "first.2", "on": "end"}]]
    assert [queuectl.show(f"next.{number}")["after"] for number in (1, 2)] == after
    queuectl.ok("enqueue", "--each", "--batch", "third", "--after", "next.{#}", "true", ":::", "a", "b")
    assert_error(queuectl("enqueue", "--each", "--after", "first.{", "true {}", ":::", "a"), 2, "a single {")


def test_csv_and_tsv_name_the_placeholders(queuectl: Queuectl) -> None:
    write(queuectl, "pages.csv", '\ufeffurl,title\nhttp://a/,"one, two"\r\nhttp://b/,"a ""b"""\n\n')
    assert commands(queuectl, "get {url} {title} {#}", "--csv", "pages.csv") == [
        "get http://a/ 'one, two' 1",
        "get http://b/ 'a \"b\"' 2",
    ]
    write(queuectl, "pages.tsv", "a\tb\n1 2\t3\n")
    assert commands(queuectl, "get {b} {1}", "--tsv", "pages.tsv") == ["get 3 '1 2'"]


def test_ndjson_takes_texts_and_numbers(queuectl: Queuectl) -> None:
    write(queuectl, "o.ndjson", '{"a": "x y", "b": 1}\n\n{"b": 2.50, "a": null}\n{"a": true, "b": "\\u00e4"}\n')
    assert commands(queuectl, "f {a} {b}", "--ndjson", "o.ndjson") == ["f 'x y' 1", "f '' 2.50", "f true 'ä'"]


def test_lines_of_files_and_of_stdin(queuectl: Queuectl) -> None:
    write(queuectl, "hosts", "alpha\r\nbeta one\nlast")
    assert commands(queuectl, "ping {}", "::::", "hosts") == ["ping alpha", "ping 'beta one'", "ping last"]
    assert commands(queuectl, "x {1} {2}", "::::", "-", ":::", "1", "2", stdin="a\nb\n") == [
        "x a 1",
        "x a 2",
        "x b 1",
        "x b 2",
    ]


def test_ranges_and_the_order_of_options(queuectl: Queuectl) -> None:
    write(queuectl, "t.csv", "c\nx\ny\n")
    assert commands(queuectl, "f {}", "--range", "0-100:50") == ["f 0", "f 50", "f 100"]
    assert commands(queuectl, "f {}", "--range", "-2--1") == ["f -2", "f -1"]
    assert commands(queuectl, "f {}", "--range=1-2", "--csv", "t.csv") == ["f 1 x", "f 1 y", "f 2 x", "f 2 y"]
    assert commands(queuectl, "f {}", "--csv=t.csv", "--range", "1-2", ":::", "z") == [
        "f x 1 z",
        "f x 2 z",
        "f y 1 z",
        "f y 2 z",
    ]


@pytest.mark.parametrize("word", ["--max-retries", "--queue=ci", "--dry-run"])
def test_an_option_after_the_values_is_no_value(queuectl: Queuectl, word: str) -> None:
    assert_error(queuectl("enqueue", "--each", "echo {}", ":::", "a", word), 2, word, ":::: FILE")
    assert list(queuectl.folder.iterdir()) == []
    assert "echo --x" in queuectl.ok("enqueue", "--each", "--dry-run", "echo {}", ":::", "a", "--x")


def test_a_program_may_have_such_words_itself(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--", "parallel", "echo", "--each", ":::", "a", "b")
    assert queuectl.show(job_id)["argv"] == ["parallel", "echo", "--each", ":::", "a", "b"]


# ── batches of other jobs, and dry runs ─────────────────────────────────────────────────────────────


def test_a_file_and_single_jobs_join_a_batch(queuectl: Queuectl) -> None:
    write(queuectl, "jobs", 'true\n\n{"id": "own", "command": "true"}\nfalse\n')
    assert queuectl.ok("enqueue", "--batch", "b", "--file", "jobs").split() == ["b.1", "own", "b.3"]
    assert "batch b: 0 new of 3 jobs" in queuectl("enqueue", "--batch", "b", "--file", "jobs").err
    single = queuectl.add("--batch", "b", "true")
    assert len(single) == 36
    added = {event["stream_id"]: event for event in queuectl.events("enqueued")}
    assert {name: (data["batch"], data.get("seq", 0)) for name, data in added.items()} == {
        "b.1": ("b", 1),
        "own": ("b", 2),
        "b.3": ("b", 3),
        single: ("b", 0),
    }
    assert [event["jobs"] for event in queuectl.events("batch_opened")] == [3, 1]


def test_a_dry_run_prints_and_leaves_nothing_behind(queuectl: Queuectl) -> None:
    before = sorted(queuectl.folder.iterdir())
    done = queuectl("enqueue", "--dry-run", *GRID, ":::", "lr=1", ":::", "layers=2 3")
    assert (done.code, done.out, done.err) == (0, "grid.1  train --lr 1 --layers '2 3'\n", "")
    assert queuectl("enqueue", "--dry-run", "echo  hi").out == "echo  hi\n"
    assert sorted(queuectl.folder.iterdir()) == before


def test_the_jobs_of_a_dry_run_can_be_added(queuectl: Queuectl) -> None:
    options = ("--delay", "1m", "--tag", "a=b", "--env", "X=1", "--timeout", "90s", "--priority", "4")
    jobs = queuectl.ok("enqueue", "--dry-run", "--json", *options, *GRID, *SOURCES)
    write(queuectl, "jobs.json", jobs)
    assert queuectl.ok("enqueue", "--file", "jobs.json", "--batch", "grid") == "\n".join(
        f"grid.{n}" for n in range(1, 7)
    )
    head = queuectl.ok("head")
    again = queuectl("enqueue", *options, *GRID, *SOURCES)
    assert again.err == "batch grid: 0 new of 6 jobs\n"
    assert queuectl.ok("head") == head


def test_a_dry_run_knows_the_settings(queuectl: Queuectl) -> None:
    queuectl.ok("config", "set", "max-retries", "9")
    [job] = json.loads(queuectl.ok("enqueue", "--dry-run", "--json", "true"))
    assert (job["max_retries"], job["id"], job["umask"]) == (9, None, f"{_umask():03o}")
    assert queuectl.json("list") == []


def _umask() -> int:
    from queuectl.runtime import process_umask

    return process_umask()


# ── batches ─────────────────────────────────────────────────────────────────────────────────────────


def test_batches_count_their_jobs_by_state(queuectl: Queuectl) -> None:
    assert queuectl("batches").err == f"queuectl: there is no queue at {queuectl.db}\nno batches\n"
    queuectl.ok("enqueue", "--each", "--batch", "z", "--max-retries", "0", "test {} -lt 3", ":::", "1", "2", "3", "4")
    queuectl.ok("enqueue", "--each", "--batch", "a", "--delay", "1h", "echo {}", ":::", "1", "2")
    queuectl.ok("enqueue", "true")
    queuectl.ok("cancel", "z.1", "a.2")
    queuectl.start("run", "--queue", "default")
    queuectl.ok("wait", "z.2")
    queuectl("wait", "z.3", "z.4")
    names = ("name", "jobs", "pending", "processing", "done", "dlq", "cancelled")
    found = queuectl.json("batches")
    assert [tuple(row[name] for name in names) for row in found] == [
        ("z", 4, 0, 0, 1, 2, 1),
        ("a", 2, 1, 0, 0, 0, 1),
    ]
    assert found[0]["took"] >= 0
    assert found[0]["eta"] is None
    assert found[1]["took"] is None
    then = queuectl.json("batches", "--as-of", "5")
    assert [tuple(row[name] for name in names) for row in then] == [("z", 4, 4, 0, 0, 0, 0)]
    lines = queuectl.ok("batches").splitlines()
    assert lines[0].split() == [*"NAME JOBS DONE RUNNING PENDING DLQ CANCELLED STARTED TOOK/ETA".split()]  # noqa: SIM905
    assert lines[1].split()[:7] == ["z", "4", "1", "0", "0", "2", "1"]
    assert {row["batch"] for row in queuectl.json("list")} == {"z", "a", None}
    assert queuectl.ok("batches", "-o", "name") == "z\na"


def test_batches_survive_a_rebuild_and_count_no_purged_job(queuectl: Queuectl) -> None:
    queuectl.ok("enqueue", *GRID, *SOURCES)
    queuectl.ok("cancel", "grid.1")
    [before] = queuectl.json("batches")
    queuectl.ok("rebuild")
    [after] = queuectl.json("batches")
    assert {**after, "eta": None} == {**before, "eta": None}
    queuectl.ok("purge", "grid.1")
    assert [row["jobs"] for row in queuectl.json("batches")] == [5]


def test_commands_take_the_jobs_of_a_batch(queuectl: Queuectl) -> None:
    queuectl.ok("enqueue", "--each", "--batch", "b", "--max-retries", "0", "test {} -lt 3", ":::", "1", "2", "3", "4")
    queuectl.ok("enqueue", "--each", "--batch", "other", "exit {}", ":::", "9", "8")
    assert queuectl.ok("list", "--batch", "b", "--sort", "created", "-o", "name").split() == [
        "b.1",
        "b.2",
        "b.3",
        "b.4",
    ]
    queuectl.ok("cancel", "--batch", "other", "--yes")
    queuectl.drain()
    assert queuectl("wait", "--batch", "b").code == 1
    assert_error(queuectl("wait", "--batch", "none"), 2, "there is no batch none")
    assert queuectl.ok("list", "--batch", "b", "--state", "dlq", "--sort", "id", "-o", "name").split() == ["b.3", "b.4"]
    queuectl.ok("retry", "--batch", "b", "--state", "dlq", "--yes")
    assert [queuectl.state(name) for name in ("b.1", "b.3", "b.4", "other.1")] == [
        "done",
        "pending",
        "pending",
        "cancelled",
    ]
    queuectl.ok("cancel", "b.3", "b.4")
    queuectl.ok("purge", "--batch", "b", "--state", "cancelled", "--yes")
    assert queuectl("wait", "--batch", "b").code == 0
    assert [row["jobs"] for row in queuectl.json("batches")] == [2, 2]


# ── the limit of failures ───────────────────────────────────────────────────────────────────────────


def test_a_batch_stops_after_too_many_failures(queuectl: Queuectl) -> None:
    given = ("--each", "--batch", "g", "--max-failures", "3", "--max-retries", "0", "exit {}", "--range", "1-40")
    queuectl.ok("enqueue", *given)
    queuectl.ok("enqueue", "--id", "other", "true")
    queuectl.drain("--concurrency", "8")
    [row] = queuectl.json("batches")
    assert 3 < row["dlq"] <= 3 + 8
    types = [
        kind for (kind,) in query(queuectl.db, "SELECT type FROM events WHERE stream_id LIKE 'g.%' ORDER BY position")
    ]
    assert "claimed" not in types[types.index("cancelled") :]
    assert (row["max_failures"], row["pending"], row["cancelled"]) == (3, 0, 40 - row["dlq"])
    assert "batch g: more than 3 failures, so its pending jobs were cancelled" in queuectl.ok("batches")
    why = "batch g: more than 3 failures"
    assert f"reason: {why}" in queuectl.ok("history", "g.40")
    assert why in queuectl.ok("explain", "g.40")
    shown = queuectl.json("show", "g.40")
    assert shown["reason"] == why
    assert f"because of event #{shown['because_of']}, g." in queuectl.ok("explain", "g.40")
    assert f"event #{shown['because_of']}" in queuectl.ok("show", "g.40")
    assert queuectl.state("other") == "done"
    assert queuectl("wait", "--batch", "g").code == 1
    for command in ("verify", "audit"):
        queuectl.ok(command)
    head = queuectl.ok("head")
    assert queuectl("enqueue", *given).err == "batch g: 0 new of 40 jobs\n"
    assert queuectl.ok("head") == head


def test_another_limit_of_the_same_batch_takes_its_place(queuectl: Queuectl) -> None:
    given = ("enqueue", "--batch", "b", "--max-retries", "0")
    queuectl.ok(*given, "--max-failures", "1", "--id", "a", "false")
    queuectl.ok(*given, "--id", "b", "false")
    queuectl.ok(*given, "--max-failures", "2", "--id", "c", "false")
    queuectl.ok(*given, "--id", "d", "--delay", "1h", "true")
    queuectl.start("run", "--queue", "default")
    queuectl("wait", "a", "b", "c", "d")
    assert [queuectl.state(name) for name in "abcd"] == ["dlq", "dlq", "dlq", "cancelled"]
    assert [event["max_failures"] for event in queuectl.events("batch_opened")] == [1, 1, 2, 2]


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--each 'x'  ::: a", "no placeholder: add {}"),
        ("--each 'x {}'", "--each has no source"),
        ("--each 'x {}' :::", "has no values"),
        ("--each 'x {}' ::::", "give the name of a file"),
        ("--each 'x {}' :::: none", "cannot read none: No such file"),
        ("--each 'x {}' :::: - -", "stdin (-) can be read once"),
        ("--each 'x {}' :::: empty", "has no values"),
        ("--each 'x {}' --csv empty", "has no rows"),
        ("--each 'x {}' --csv ragged", "ragged: line 3 has 1 value, the header names 2"),
        ("--each 'x {}' --csv quote", "line 2"),
        ("--each 'x {}' --csv twice", "--csv twice: line 1: the name a is given twice"),
        ("--each 'x {}' --csv blank", "--csv blank: line 1: 'a b' is not a name"),
        ("--each 'x {}' --ndjson keys", "line 2 has other keys"),
        ("--each 'x {}' --ndjson list", "line 1: not an object of texts and numbers"),
        ("--each 'x {}' --ndjson ragged", "line 1: not an object"),
        ("--each 'x {}' --csv latin", "latin is not UTF-8"),
        ("--each 'x {}' :::: nul", "NUL bytes are not allowed"),
        ("--each 'x {}' --range 3-1", "it has no numbers"),
        ("--each 'x {}' --range 1-9:0", "it has no numbers"),
        ("--each 'x {}' --range a-b", "write A-B or A-B:STEP"),
        ("--each 'x {}' --range 1-1000001", "at most 1000000"),
        ("--each 'x {}' --range 1-1001 --range 1-1000", "1001000 jobs"),
        ("--each 'x {}' ::: a b :::+ c", "1 values cannot be linked to 2"),
        ("--each 'x {y}' ::: a", "{y} is not a placeholder here: use {}, {1}, {#}"),
        ("--each 'x \"{}\"' ::: a", "remove the quotes around {}: values are quoted for you"),
        ("--each --tag 'a={y}' 'x {}' ::: a", "{y} is not a placeholder"),
        ("--each --id 'a {}' 'x {}' ::: a", "job 1: id: "),
        ("--each --id same 'x {}' ::: a b", "--id names one job: add a placeholder"),
        ("--each --batch 'a b' 'x {}' ::: a", "batch: 'a b' is not allowed"),
        ("--each --file ragged ::: a", "leave --file out"),
        ("--each ::: a", "give one of: a COMMAND"),
        ("'x {}' ::: a", "::: goes with --each"),
        ("--csv ragged 'x {a}'", "go with --each"),
        ("--batch '' true", "batch: '' is not allowed"),
        ("--max-failures 3 true", "--max-failures counts the failures of a batch: add --batch NAME"),
        ("--batch b --max-failures 0 true", "--max-failures takes a number from 1 to 1000000, not 0"),
        ("--batch b --max-failures=-1 true", "from 1 to 1000000, not -1"),
        ("--batch b --max-failures 99999999999999999999 true", "from 1 to 1000000"),
        ("--batch b --max-failures x true", "--max-failures"),
        ("--json true", "--json goes with --dry-run"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(queuectl: Queuectl, line: str, said: str) -> None:
    for name, text in {
        "empty": b"",
        "ragged": b"a,b\n1,2\n3\n",
        "quote": b'a\n"x\n',
        "twice": b"a,a\n1,2\n",
        "blank": b"a b\n1\n",
        "keys": b'{"a": 1}\n{"b": 1}\n',
        "list": b'{"a": [1]}\n',
        "latin": b"a\n\xe4\n",
        "nul": b"a\0b\n",
    }.items():
        write(queuectl, name, text)
    before = sorted(queuectl.folder.iterdir())
    done = queuectl("enqueue", *shlex.split(line))
    assert_error(done, 2, said)
    assert sorted(queuectl.folder.iterdir()) == before


def test_a_sweep_is_all_or_none(queuectl: Queuectl) -> None:
    queuectl.ok("enqueue", "--id", "b.2", "other")
    head = queuectl.ok("head")
    assert_error(queuectl("enqueue", "--each", "--batch", "b", "x {}", ":::", "1", "2"), 4, "b.2 is taken")
    assert queuectl.ok("head") == head
