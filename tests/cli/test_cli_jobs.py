"""``jobs``: looking at jobs and steering them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rembg_watch.jobs.ledger import AttemptEnd
from rembg_watch.jobs.model import Charge, State, Unready

EVIL = os.fsdecode(b"[red]a\x1b[31m\n\xff.jpg")


def test_list_shows_the_newest_first_and_what_is_not_a_job_yet(place):
    """Jobs with their reasons, then, apart, the files that are not jobs yet."""
    place.fail("bad.jpg", "not a valid image")
    place.arrive("new.jpg", inbox=place.bags)
    place.table.publish_unready([Unready(str(place.shoes), "half.jpg", "incomplete", "its end is missing", 2.0)])
    told = place.run("jobs", "list")
    assert told.code == 0
    jobs, others = told.out.split("not jobs yet\n")
    assert re.search(r"^ +2 +queued .* 2.5 MB +clear +bags/new\.jpg$", jobs, re.MULTILINE)
    assert re.search(r"^ +1 +failed .* white +shoes/bad\.jpg +not a valid image$", jobs, re.MULTILINE)
    assert re.search(r"^incomplete .* shoes/half\.jpg +its end is missing$", others, re.MULTILINE)


def test_list_without_a_database(place):
    """Nothing, said plainly; exit 0, and nothing made."""
    told = place.run("jobs", "list")
    assert (told.code, told.out) == (0, "No jobs.\n")
    assert place.run("jobs", "list", "--json").json == {"jobs": [], "not_jobs_yet": [], "more": False}
    assert not (place.root / "state").exists()


def test_list_by_state_folder_and_limit(place, monkeypatch):
    """The folder as typed: absolute, relative, through a link, or its name alone."""
    place.arrive("a.jpg", "b.jpg", "c.jpg")
    place.arrive("d.jpg", inbox=place.bags)
    place.queries.cancel(ids=[1], now=1.0)
    (place.root / "link").symlink_to(place.shoes)
    monkeypatch.chdir(place.root / "in")
    for folder in ("shoes", "shoes/", "./shoes", "../link", place.shoes):
        listed = place.run("jobs", "list", "--folder", folder, "--state", "queued", "--json").json
        assert [job["path"] for job in listed["jobs"]] == ["c.jpg", "b.jpg"], folder
    limited = place.run("jobs", "list", "--limit", "2", "--json").json
    assert ([job["id"] for job in limited["jobs"]], limited["more"]) == ([4, 3], True)
    assert "--limit 4" in place.run("jobs", "list", "--limit", "2").err


def test_list_of_one_state_of_files(place):
    """The states of files that are not jobs can be asked for as well."""
    place.arrive("a.jpg")
    place.table.publish_unready([Unready(str(place.shoes), "x.tmp", "ignored", "a temporary name", 2.0)])
    listed = place.run("jobs", "list", "--state", "ignored", "--json").json
    assert listed["jobs"] == []
    assert [file["path"] for file in listed["not_jobs_yet"]] == ["x.tmp"]
    assert place.run("jobs", "list", "--state", "queued", "--json").json["not_jobs_yet"] == []


@pytest.mark.parametrize("folder", ["nowhere", "in"])
def test_unknown_folder_is_wrong_usage(place, folder):
    """Exit 2, with the inboxes that there are."""
    told = place.run("jobs", "list", "--folder", folder)
    assert told.code == 2
    assert str(place.shoes) in told.err


def test_inboxes_of_one_name_must_be_told_apart(place):
    """Their last name is not enough, and what is shown tells them apart."""
    text = place.config.read_text().replace("in/bags", "in/sale/shoes")
    place.config.write_text(text)
    told = place.run("jobs", "list", "--folder", "shoes")
    assert told.code == 2
    assert "could be any of" in told.err
    assert "in/shoes " in place.run("status").out
    assert "sale/shoes " in place.run("status").out


def test_show_tells_everything(place):
    """The reason and what to do, each attempt with its charge, each output."""
    failed, done = place.fail("bad.jpg", "not a valid image"), place.deliver("a/good.jpg")
    told = place.run("jobs", "show", failed).out
    for words in ("bad.jpg", "not a valid image [image]", "export it again", "not charged", "400"):
        assert words in told
    told = place.run("jobs", "show", done).out
    for words in (
        "a/good.jpg",
        "sent to the API",
        "charged",
        "200",
        "1.2 s",
        "2.5 MB",
        "900 kB",
        "out/a/good.jpg.webp",
    ):
        assert words in told
    shown = place.run("jobs", "show", done, "--json").json["job"]
    assert (shown["id"], shown["state"], shown["how"], shown["size"]) == (done, "done", "sent", 2_500_000)
    assert [attempt["charge"] for attempt in shown["attempts_made"]] == ["charged"]
    assert [output["path"] for output in shown["outputs"]] == [f"{place.root}/out/a/good.jpg.webp"]
    assert shown["content_hash"] == f"p1{done:064x}"
    assert (shown["width"], shown["height"], shown["crashes"]) == (2000, 1500, 0)
    assert {"lease", "temp", "api_temp"} & set(shown) == set()


def test_attempt_without_an_answer_is_possibly_charged(place):
    """And is shown as that."""
    place.send("a.jpg")
    told = place.run("jobs", "show", "1").out
    assert "possibly charged" in told
    assert "no answer (yet)" in told


def test_attempts_are_what_was_sent_and_faults_what_counts(place):
    """A photo that was sent three times says 3, though only one of these tries can make it fail in the end."""
    for number, counted in enumerate((False, True, False)):
        if number == 0:
            place.arrive("a.jpg")
        (job,) = place.queries.select()
        attempt = place.mark_sent(job, 1000.0 + number)
        end = AttemptEnd(Charge.NOT_CHARGED, "rate", 429, "too fast")
        place.queue.end(job, State.QUEUED, 1001.0, counted=counted, attempt=(attempt, end))
    place.arrive("b.jpg")
    listed = place.run("jobs", "list", "--json").json["jobs"]
    assert [(job["path"], job["attempts"], job["faults"]) for job in listed] == [("b.jpg", 0, 0), ("a.jpg", 3, 1)]
    shown = place.run("jobs", "show", "1", "--json").json["job"]
    assert (shown["attempts"], shown["faults"], len(shown["attempts_made"])) == (3, 1, 3)


@pytest.mark.parametrize("database", [True, False])
@pytest.mark.parametrize("command", ["show", "retry", "cancel"])
def test_unknown_number_is_exit_1(place, command, database):
    """With a message; what is not there is not there with a database or without one."""
    if database:
        place.arrive("a.jpg")
    told = place.run("jobs", command, "77")
    assert told.code == 1
    assert told.out == ""
    assert told.err.startswith("There is no job 77.")


@pytest.mark.parametrize(
    "args",
    [("retry",), ("cancel",), ("retry", "1", "--failed"), ("retry", "--folder", "shoes"), ("retry", "x"),
     ("cancel", "1", "--folder", "shoes"), ("show",), ("show", "0"), ("retry", "9" * 30), ("list", "--state", "odd")],
)  # fmt: skip
def test_wrong_usage_is_exit_2(place, args):
    """Nothing named, or two ways at once, changes nothing."""
    place.fail("bad.jpg")
    told = place.run("jobs", *args)
    assert told.code == 2
    assert told.out == ""
    assert place.queries.get(1).state is State.FAILED


def test_retry_by_number(place):
    """Known ones are queued, unknown ones named, and the exit code says that not all was done."""
    failed = place.fail("bad.jpg")
    told = place.run("jobs", "retry", failed, 77)
    assert (told.code, told.out) == (1, "1 job queued again: 1.\n")
    assert "no job 77" in told.err
    assert place.queries.get(failed).state is State.QUEUED
    again = place.run("jobs", "retry", failed)
    assert (again.code, again.out) == (0, "Job 1 is queued already.\n")


def test_retry_of_an_older_version_is_refused_with_the_reason(place):
    """What lies there now is a job of its own."""
    failed = place.fail("bad.jpg")
    place.database.write(lambda c: c.execute("UPDATE jobs SET current = 0"))
    told = place.run("jobs", "retry", failed)
    assert told.code == 1
    assert "has changed or left the inbox" in told.err


def test_retry_all_failed(place):
    """Of all inboxes or of one; none is no error."""
    place.fail("a.jpg")
    place.fail("b.jpg", inbox=place.bags)
    assert place.run("jobs", "retry", "--failed", "--folder", "bags").out == "1 job queued again: 2.\n"
    assert place.run("jobs", "retry", "--failed").out == "1 job queued again: 1.\n"
    told = place.run("jobs", "retry", "--failed")
    assert (told.code, told.out) == (0, "0 jobs queued again.\n")


def test_cancel(place):
    """By number or by inbox; what is being sent is spared, with the reason."""
    place.send("sent.jpg")
    place.arrive("a.jpg", "b.jpg")
    told = place.run("jobs", "cancel", 1, 2)
    assert (told.code, told.out) == (1, "1 job cancelled: 2.\n")
    assert told.err == "Job 1 can't be cancelled: it was already sent and charged.\n"
    assert place.run("jobs", "cancel", 2).out == "Job 2 is cancelled already.\n"
    assert place.run("jobs", "cancel", "--folder", "shoes").out == "1 job cancelled: 3.\n"
    place.fail("bad.jpg", inbox=place.bags)
    told = place.run("jobs", "cancel", 4)
    assert (told.code, told.err) == (1, "Job 4 can't be cancelled: it is failed already.\n")


def test_received_jobs(place):
    """Paid, and only to be delivered: listed by that state, with what they wait for, and past retry and cancel."""
    number = place.receive("paid.jpg")
    place.arrive("a.jpg")
    listed = place.run("jobs", "list", "--state", "received", "--json").json["jobs"]
    assert [(job["id"], job["state"]) for job in listed] == [(number, "received")]
    assert "paid; its result waits for the outbox" in place.run("jobs", "list").out
    shown = place.run("jobs", "show", number)
    assert "result:  paid (900 kB); it waits for the outbox, and is not paid again" in shown.out
    told = place.run("jobs", "cancel", number)
    waits = "Job 1 can't be cancelled: it was already sent and charged, and its result waits for the outbox.\n"
    assert (told.code, told.err) == (1, waits)
    told = place.run("jobs", "retry", number)
    delivered = "Job 1 has its paid result already; it is delivered as soon as the outbox takes it.\n"
    assert (told.code, told.out) == (0, delivered)
    assert place.queries.get(number).state is State.RECEIVED


def test_retry_of_what_is_being_sent(place):
    """It is on its way already."""
    place.send("a.jpg")
    assert place.run("jobs", "retry", 1).out == "Job 1 is being sent already.\n"


def test_every_state_can_be_asked_for(place):
    """None of the job table's is missing."""
    place.arrive("a.jpg")
    for state in State:
        assert place.run("jobs", "list", "--state", state.value).code == 0


def test_show_names_the_answers_in_the_store(place):
    """The kept one of a job that is done, and those that were not what was asked for, while they are there."""
    done = place.deliver("good.jpg")
    failed, path = place.reject("odd.jpg")
    kept = place.run("jobs", "show", done, "--json").json["job"]["kept"]
    assert Path(kept).read_bytes() == b"cut out"
    assert f"kept in {kept}" in place.run("jobs", "show", done).out
    told = place.run("jobs", "show", failed).out
    assert "rejected answers: paid, but not what was asked for\n" in told
    assert path in told
    (attempt,) = place.run("jobs", "show", failed, "--json").json["job"]["attempts_made"]
    assert attempt["rejected"] == path
    Path(path).unlink()
    assert "rejected answers" not in place.run("jobs", "show", failed).out


def test_show_tells_of_crashes(place):
    """A photo that was sent while rembg-watch crashed says so: the next time it fails."""
    job, _ = place.send("a.jpg")
    place.queue.count_crash(job)
    assert "rembg-watch ended 1 time while it was sent" in place.run("jobs", "show", job.id).out


def test_hostile_names_are_escaped(place):
    """In lists and in the details; JSON has the exact name, in ASCII."""
    number = place.fail(EVIL, "bad\x1b[31m\nnext")
    for told in (place.run("jobs", "list"), place.run("jobs", "show", number)):
        assert r"[red]a\x1b[31m\n\xff.jpg" in told.out
        assert r"bad\x1b[31m next" in told.out
        assert "\x1b" not in told.out
    listed = place.run("jobs", "list", "--json")
    assert listed.json["jobs"][0]["path"] == EVIL
    assert listed.out.isascii()


WRITER = """
import sys, time
from pathlib import Path
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.lock import StateLock
from rembg_watch.jobs.model import Arrival, Version
from rembg_watch.jobs.queue import Queue
state = Path(sys.argv[1])
with StateLock(state), Database(state / "jobs.db") as database:
    store = Queue(database)
    turn = 0
    print("ready", flush=True)
    while True:
        turn, began = turn + 1, time.monotonic()
        store.enqueue([Arrival("/srv/load", f"{turn}-{i}.jpg", Version(1, 1), "fp", "p") for i in range(200)], 1.0)
        time.sleep((time.monotonic() - began) / 4)
"""


def test_changes_under_load(place):
    """While a daemon writes four fifths of the time, however slow the disk is, retry, cancel and pause get their turn."""
    failed = place.fail("bad.jpg")
    place.arrive("a.jpg")
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(place.root / "state")],
        cwd=os.getcwd(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
    ) as writer:
        try:
            assert writer.stdout.readline() == b"ready\n"
            assert place.run("jobs", "retry", failed).code == 0
            assert place.run("jobs", "cancel", 2).code == 0
            assert place.run("pause").code == 0
            assert place.run("jobs", "list").code == 0
            assert writer.poll() is None
        finally:
            writer.kill()
    assert place.queries.get(failed).state is State.QUEUED
    assert place.queries.get(2).state is State.CANCELLED


def test_listing_loads_little(place):
    """The command itself costs little: neither requests nor rich nor Pillow's readers beyond the config's are loaded."""
    place.arrive(*(f"{number}.jpg" for number in range(50)))
    code = (
        "import sys, contextlib\n"
        "from rembg_watch.cli import main\n"
        "with contextlib.suppress(SystemExit): main(sys.argv[1:])\n"
        "print(sorted({'requests', 'rich', 'structlog', 'sqlite_utils', 'watchdog', 'starlette'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "jobs", "list", "-c", str(place.config)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_limit_beyond_any_database_is_wrong_usage(place):
    """A number that SQLite can't take is refused as it is typed."""
    place.arrive("a.jpg")
    assert place.run("jobs", "list", "--limit", "1000000").code == 0
    told = place.run("jobs", "list", "--limit", 2**63)
    assert told.code == 2
    assert "--limit" in told.err
