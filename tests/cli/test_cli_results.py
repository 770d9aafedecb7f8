"""``results``: what the store of paid results holds, and deleting it."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from blake3 import blake3
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from rembg_watch.config.load import load_config
from rembg_watch.jobs.lock import StateLock
from rembg_watch.jobs.model import Key
from rembg_watch.picturehash import hash_photo

DAY = 86400


def files(place):
    return sorted(path.name for path in (place.root / "state" / "results").rglob("*") if path.is_file())


def age(place, number, days):
    """Let the kept result of a job have its last use so many days ago."""
    kept = place.results.find(place.key(place.queries.get(number)))
    at = time.time() - days * DAY
    os.utime(kept.path, (at, at))
    return Path(kept.path)


def test_list(place):
    """The last used first: when, how large, for which photo; then the sum, and what was rejected."""
    old, new = place.deliver("old.jpg", answer=b"o" * 2000), place.deliver("new.jpg", inbox=place.bags)
    age(place, old, 12)
    failed, path = place.reject("odd.jpg")
    os.utime(path, (time.time() - 40 * DAY,) * 2)
    told = place.run("results", "list")
    assert told.code == 0
    lines = told.out.splitlines()
    assert lines[0].split() == ["LAST", "USED", "SIZE", "PICTURE-OPTIONS", "PROFILE", "PHOTO"]
    assert re.match(r"\d+ s ago +7 B +kept +p1000000000000-[0-9a-f]{16} +clear +bags/new\.jpg$", lines[1])
    assert re.match(r"12 days ago +2\.0 kB +kept +p1\S+ +white +shoes/old\.jpg$", lines[2])
    assert re.match(r"40 days ago +15 B +rejected +p1\S+ +white +shoes/odd\.jpg$", lines[3])
    assert lines[5] == "2 results kept, 2.0 kB of 20.0 GB; the longest unused one was last used 12 days ago."
    assert lines[6].startswith("1 rejected answer (15 B): paid, but not what was asked for.")
    shape = place.run("results", "list", "--json").json
    assert [(one["job"], one["rejected"]) for one in shape["results"]] == [(new, False), (old, False), (failed, True)]
    job = place.queries.get(old)
    assert (shape["results"][1]["content_hash"], shape["results"][1]["fingerprint"]) == place.key(job)
    assert (shape["total"]["kept"], shape["total"]["kept_bytes"], shape["total"]["rejected"]) == (2, 2007, 1)
    assert (shape["keep"], shape["max"], shape["short"]) == (90 * DAY, 20 * 10**9, None)


def test_list_with_a_limit(place):
    """The sum is of all; how to see the rest is said."""
    for number in range(3):
        age(place, place.deliver(f"{number}.jpg"), number)
    told = place.run("results", "list", "--limit", 2)
    assert "shoes/0.jpg" in told.out
    assert "shoes/2.jpg" not in told.out
    assert "3 results kept" in told.out
    assert "--limit 4 shows them" in told.err
    shape = place.run("results", "list", "--limit", 2, "--json").json
    assert (len(shape["results"]), shape["more"], shape["total"]["kept"]) == (2, True, 3)


def test_nothing_is_kept(place):
    """Said plainly, before the first run and with results: off; nothing is made on the disk."""
    assert place.run("results", "list").out == "No results are kept.\n"
    assert place.run("results", "prune", "--all").out == "No results are kept.\n"
    assert not (place.root / "state").exists()
    place.config.write_text(place.config.read_text() + "results: off\n")
    assert place.run("results", "list").out == "No results are kept (results: off).\n"


def test_results_without_a_database(place):
    """What is kept can be listed, as the files say all; but nobody knows what is needed, so nothing is deleted."""
    place.deliver("a.jpg")
    place.close()
    (place.root / "state" / "jobs.db").unlink()
    told = place.run("results", "list")
    assert "1 result kept" in told.out
    told = place.run("results", "prune", "--all")
    assert told.code == 73
    assert "which results are still needed" in told.err
    assert len(files(place)) == 1


def test_prune_applies_the_limits(place):
    """What is older than keep goes; how much was freed is said."""
    old, new = place.deliver("old.jpg", answer=b"o" * 2000), place.deliver("new.jpg")
    age(place, old, 91)
    told = place.run("results", "prune")
    assert (told.code, told.out) == (0, "Deleted 1 result (2.0 kB).\n1 result left (7 B).\n")
    assert place.results.find(place.key(place.queries.get(old))) is None
    assert place.results.find(place.key(place.queries.get(new))) is not None
    assert place.run("results", "prune").out == "Nothing to delete.\n1 result left (7 B).\n"


def test_prune_by_age(place):
    """Counted from the last use."""
    age(place, place.deliver("old.jpg"), 31)
    age(place, place.deliver("new.jpg"), 29)
    assert place.run("results", "prune", "--older-than", "30d").out.startswith("Deleted 1 result ")
    assert place.run("results", "prune", "--older-than", "0s").out == "Deleted 1 result (7 B).\n"


def test_prune_never_deletes_what_an_open_job_needs(place):
    """A result that is paid and not delivered stays, whatever is asked for."""
    place.deliver("done.jpg")
    waiting = place.receive("waits.jpg")
    age(place, waiting, 400)
    place.reject("odd.jpg")
    told = place.run("results", "prune", "--all").out
    assert told.startswith("Deleted 2 results (22 B).\n1 result left (7 B).\n")
    assert "1 of them can't be deleted yet: their photos are not delivered." in told
    assert place.results.find(place.key(place.queries.get(waiting))) is not None


def test_prune_beside_a_daemon_leaves_what_was_just_used(place):
    """The daemon may be about to deliver it, which no row says yet."""
    age(place, place.deliver("old.jpg"), 1)
    place.deliver("new.jpg")
    with StateLock(place.root / "state"):
        told = place.run("results", "prune", "--all").out
    assert told.startswith("Deleted 1 result (7 B).\n1 result left (7 B).\n")
    assert "used within the last minute" in told


@pytest.mark.parametrize(
    "args",
    [("prune", "--all", "--older-than", "3d"), ("prune", "--older-than", "soon"), ("list", "--limit", "0"), ("odd",)],
)
def test_wrong_usage_is_exit_2(place, args):
    place.deliver("a.jpg")
    assert place.run("results", *args).code == 2
    assert len(files(place)) == 1


def test_a_store_that_holds_too_little_is_a_warning(place):
    """Results that were used days ago had to go: list and check warn, and say what to do. Pruning by hand is no such."""
    place.config.write_text(place.config.read_text() + "results: {max: 1MB}\n")
    for number in range(3):
        age(place, place.deliver(f"{number}.jpg", answer=bytes(600_000)), number + 1)
    assert place.run("results", "prune", "--older-than", "60h").out.startswith("Deleted 2 results")
    told = place.run("results", "list").out
    assert (
        "Paid results had to be deleted 2 days after their last use, because results.max (1.0 MB) was reached" in told
    )
    told = place.run("check", "--offline").out
    assert re.search(
        r"^warn +results +paid results had to be deleted 2 days after .* Raise results\.max\.", told, re.MULTILINE
    )
    assert place.run("results", "list", "--json").json["short"]["why"] == "max"
    told = place.run("status").out
    assert "results: paid results had to be deleted 2 days after" in told


def test_check_tells_of_the_store(place):
    """Its size, its limit, the free disk, and how far back it reaches."""
    age(place, place.deliver("a.jpg"), 9)
    found = place.run("check", "--offline", "--json").json["findings"]
    (finding,) = [one for one in found if one["subject"] == "results"]
    assert finding["level"] == "ok"
    assert finding["message"].startswith("1 result kept, 7 B of 20.0 GB, ")
    assert finding["message"].endswith("GB free; the longest unused one was last used 9 days ago")
    place.config.write_text(place.config.read_text() + "results: off\n")
    told = place.run("check", "--offline").out
    assert re.search(
        r"^ok +results +off: a paid result is kept only until it is delivered \(7 B now", told, re.MULTILINE
    )


def test_hostile_names_are_escaped(place):
    """Names of photos are data here, too."""
    place.deliver("a\x1b[31m\n.jpg")
    told = place.run("results", "list")
    assert r"a\x1b[31m\n.jpg" in told.out
    assert "\x1b" not in told.out


def test_a_dry_run_counts_kept_results_as_free(place):
    """The same picture with the same options costs nothing while its result is kept, whatever else is in its file."""
    photo = Image.new("RGB", (80, 60), "red")
    place.arrive("before.jpg")
    photo.save(place.shoes / "a.png")
    note = PngInfo()
    note.add_text("Comment", "another file, the same picture")
    photo.save(place.shoes / "b.png", pnginfo=note)
    assert place.run("drain", "--dry-run", "--json").json["cost"] == 1
    with (place.shoes / "a.png").open("rb") as file:
        content = hash_photo(file)[0]
    key = Key(content, load_config(place.config).profiles["white"].options.fingerprint)
    kept = Path(place.results.write(key, b"cut out", blake3(b"cut out").hexdigest(), 7))
    assert place.run("drain", "--dry-run", "--json").json["cost"] == 0
    text = place.config.read_text()
    place.config.write_text(text.replace("profile: white", "profile: white, reuse_results: false"))
    assert place.run("drain", "--dry-run", "--json").json["cost"] == 2
    place.config.write_text(text)
    kept.unlink()
    assert place.run("drain", "--dry-run", "--json").json["cost"] == 1


def test_a_dry_run_tells_what_would_be_held(place):
    """More new photos than hold_above are not sent by the drain itself."""
    place.config.write_text(place.config.read_text().replace("profile: white}", "profile: white, hold_above: 1}"))
    for number in range(2):
        Image.new("RGB", (80, 60), (number, 0, 0)).save(place.shoes / f"{number}.png")
    told = place.run("drain", "--dry-run").out
    assert f"2 photos in {place.shoes} would be held: more than its hold_above." in told
    assert place.run("drain", "--dry-run", "--json").json["would_hold"] == [str(place.shoes)]
