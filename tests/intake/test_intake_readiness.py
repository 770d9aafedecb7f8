"""The decision whether a file is finished, for all that may be known of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.imagefile import Ending, Kind
from rembg_watch.intake.preflight import refuse_damaged, refuse_empty, refuse_size, refuse_type
from rembg_watch.intake.readiness import Decode, Facts, How, Look, Moment, Ready, Timings, Wait, Writer, decide

TIMINGS = Timings()
GOOD = {"size": 1000, "writer": Writer.NOBODY, "kind": Kind.JPEG, "ending": Ending.COMPLETE}


def moment(how=How.WRITTEN, *, changed_at=100.0, settle=0.5, network=False, looked_at=None, **facts):
    given_facts = Facts(looked_at, **facts) if looked_at is not None else None
    return Moment(how, changed_at, settle, network, given_facts)


@st.composite
def any_facts(draw, changed_at):
    size = draw(st.sampled_from([0, 1, 11, 12, 31, 1000, 60 * 1024 * 1024]))
    kind = draw(st.sampled_from([None, *Kind])) if size else None
    refusal = draw(st.sampled_from([None, refuse_damaged("x"), refuse_size(60 * 1024 * 1024)]))
    if not size:
        refusal = refuse_empty()
    elif kind is None:
        refusal = refuse_type(b"GIF89a")
    facts = Facts(
        looked_at=changed_at + draw(st.floats(0, 1000)),
        size=size,
        writer=draw(st.sampled_from(Writer)),
        kind=kind,
        ending=draw(st.sampled_from(Ending)),
        blank=draw(st.booleans()),
        refusal=refusal,
        problem=draw(st.sampled_from([None, None, None, "can't be opened"])),
    )
    return facts.with_decode(draw(st.sampled_from([None, "broken"]))) if draw(st.booleans()) else facts


@st.composite
def any_moment(draw):
    changed_at = draw(st.floats(0, 1e6))
    facts = draw(st.none() | any_facts(changed_at))
    return Moment(draw(st.sampled_from(How)), changed_at, draw(st.floats(0, 10)), draw(st.booleans()), facts)


LATER = st.floats(0, 2000)


@given(any_moment(), LATER)
def test_a_wait_ends_in_the_future(given_moment, later):
    """A wait never ends at once: whoever obeys does not turn in circles."""
    now = (given_moment.facts.looked_at if given_moment.facts else given_moment.changed_at) + later
    decision = decide(given_moment, now, TIMINGS)
    if isinstance(decision, Wait):
        assert decision.until > now
        assert decision.reason


@given(any_moment(), LATER)
def test_nothing_is_sent_while_somebody_writes(given_moment, later):
    """A file that is open for writing is never ready, refused or decoded, whatever else is known."""
    now = given_moment.changed_at + later
    facts = given_moment.facts
    if facts is not None and facts.writer is Writer.SOMEBODY and facts.size and facts.problem is None:
        assert isinstance(decide(given_moment, now, TIMINGS), Wait | Look)


@given(any_moment(), LATER)
def test_only_whole_files_are_sent(given_moment, later):
    """Ready without a refusal needs the end in place and nobody writing, or a full decode after five quiet seconds."""
    now = given_moment.changed_at + later
    decision = decide(given_moment, now, TIMINGS)
    if decision != Ready(None):
        return
    facts = given_moment.facts
    assert facts is not None
    assert facts.kind is not None
    quickly = facts.ending is Ending.COMPLETE and facts.writer is Writer.NOBODY and not given_moment.network
    assert quickly or (facts.decoded and now >= given_moment.changed_at + 5.0)


@given(any_moment(), LATER)
def test_decoding_needs_five_quiet_seconds(given_moment, later):
    """A full decode is not asked for before the file was quiet for five seconds, nor twice."""
    now = given_moment.changed_at + later
    if decide(given_moment, now, TIMINGS) == Decode():
        assert now >= given_moment.changed_at + 5.0
        assert given_moment.facts.decoded is None


@given(any_moment())
def test_every_file_comes_to_an_end(given_moment):
    """Whoever obeys each decision gets to Ready or to incomplete, within few steps and soon after 120 seconds."""
    now, facts = given_moment.changed_at, given_moment.facts
    template = facts or Facts(now, **GOOD)
    for _ in range(60):
        decision = decide(Moment(given_moment.how, given_moment.changed_at, given_moment.settle,
                                 given_moment.network, facts), now, TIMINGS)  # fmt: skip
        match decision:
            case Ready():
                return
            case Wait(_, _, True):
                assert now >= given_moment.changed_at + 120.0
                return
            case Wait(until):
                now = until
            case Look():
                decoded = (facts or template).decoded
                facts = Facts(now, template.size, template.writer, template.kind, template.ending, template.blank,
                              template.refusal, template.problem)  # fmt: skip
                facts = facts if decoded is None else facts.with_decode(None if decoded else "broken")
            case Decode():
                facts = facts.with_decode("broken")
    pytest.fail(f"no end: {decision}")


def test_moved_in_files_wait_20_ms():
    """Moved in: a look after 20 ms without a change, then ready at once."""
    new = moment(How.MOVED)
    assert decide(new, 100.0, TIMINGS) == Wait(100.02, "just arrived")
    assert decide(new, 100.02, TIMINGS) == Look()
    assert decide(moment(How.MOVED, looked_at=100.02, **GOOD), 100.02, TIMINGS) == Ready()


@pytest.mark.parametrize("how", [How.WRITTEN, How.FOUND])
def test_written_files_wait_for_settle(how):
    """Written or found: a look after the folder's settle time."""
    assert decide(moment(how), 100.49, TIMINGS).until == 100.5
    assert decide(moment(how), 100.5, TIMINGS) == Look()


def test_network_files_wait_and_are_decoded():
    """On a network filesystem nothing is trusted but five quiet seconds and a full decode."""
    new = moment(How.MOVED, network=True)
    assert decide(new, 104.9, TIMINGS).until == 105.0
    looked = moment(How.MOVED, network=True, looked_at=105.0, **GOOD)
    assert decide(looked, 105.0, TIMINGS) == Decode()


@pytest.mark.parametrize(
    "facts", [{"ending": Ending.UNKNOWN}, {"writer": Writer.UNKNOWN}, {"refusal": refuse_damaged("bad head")}]
)
def test_doubtful_files_go_the_slow_way(facts):
    """No trailer to judge, no lease to be had, a head that can't be read: five quiet seconds, then a full decode."""
    known = GOOD | facts
    early = decide(moment(looked_at=100.5, **known), 100.5, TIMINGS)
    assert isinstance(early, Wait)
    assert early.until == 105.0
    assert not early.incomplete
    assert decide(moment(looked_at=100.5, **known), 105.0, TIMINGS) == Decode()


def test_half_written_files_become_incomplete():
    """Without its end a file is settling with its reason, and incomplete from 120 s on; it is never refused."""
    known = GOOD | {"ending": Ending.INCOMPLETE}
    assert decide(moment(looked_at=100.5, **known), 100.6, TIMINGS).incomplete is False
    assert decide(moment(looked_at=200.0, **known), 220.0, TIMINGS) == Look()
    last = decide(moment(looked_at=220.0, **known), 220.0, TIMINGS)
    assert isinstance(last, Wait)
    assert last.incomplete
    assert "end is missing" in last.reason


def test_empty_files_are_refused_late():
    """An empty file may be the first step of an upload: it is refused only after 120 quiet seconds."""
    known = {"size": 0, "writer": Writer.NOBODY, "refusal": refuse_empty()}
    assert isinstance(decide(moment(looked_at=100.5, **known), 110.0, TIMINGS), Look | Wait)
    assert decide(moment(looked_at=220.0, **known), 220.0, TIMINGS) == Ready(refuse_empty())


def test_other_files_are_refused_after_five_seconds():
    """What is no picture is refused once it was quiet for five seconds; zeros in front are waited for instead."""
    known = {"size": 500, "writer": Writer.NOBODY, "refusal": refuse_type(b"GIF89a")}
    assert isinstance(decide(moment(looked_at=100.5, **known), 104.9, TIMINGS), Wait)
    assert decide(moment(looked_at=100.5, **known), 105.0, TIMINGS) == Ready(refuse_type(b"GIF89a"))
    assert isinstance(decide(moment(looked_at=220.0, blank=True, **known), 220.0, TIMINGS), Wait)


def test_limits_are_refused_without_decoding():
    """A whole picture over a limit is refused at once; one in doubt after five seconds, without decoding it."""
    refusal = refuse_size(60 * 1024 * 1024)
    assert decide(moment(looked_at=100.5, **GOOD | {"refusal": refusal}), 100.5, TIMINGS) == Ready(refusal)
    doubtful = GOOD | {"refusal": refusal, "writer": Writer.UNKNOWN}
    assert decide(moment(looked_at=100.5, **doubtful), 105.0, TIMINGS) == Ready(refusal)
