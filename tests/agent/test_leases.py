"""The table of leases: its rules one by one, then against a naive model under a clock that jumps."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from juniperd.errors import GrantRefused, IssuerUnreachable, JuniperError
from juniperd.freshness import Window
from juniperd.leases import IDLE, MAX_FAILURES, REFUSAL_MEMORY, TRANSIENT_MEMORY, Action, LeaseTable
from juniperd.model import AwsCredential, Cluster, Kind, Lease, LeaseKey, Secret

WINDOW = Window(renew_ahead=1200.0, wait_below=900.0)
KEY = LeaseKey("team", "k1", None, "archive", Kind.AWS, None, None, None, None, ())
CREDENTIAL = AwsCredential("ASIA1", Secret("s"), Secret("t"), "111122223333", "arn")
REFUSED = GrantRefused("no", "run: juniper explain archive")
DOWN = IssuerUnreachable("down")


def table(jitter: float = 0.0) -> LeaseTable:
    return LeaseTable(lambda _kind: WINDOW, dice=lambda: jitter)


def lease(now: float, life: float = 3600.0, key: LeaseKey = KEY) -> Lease:
    return Lease(key, CREDENTIAL, now, now + life)


def test_nothing_held_is_to_be_fetched() -> None:
    assert table().ask(KEY, 0.0) == (Action.RENEW, None)


@pytest.mark.parametrize(
    ("now", "action"),
    [
        (0.0, Action.SERVE),
        (2399.0, Action.SERVE),
        (2400.0, Action.RENEW_BEHIND),
        (2700.0, Action.RENEW_BEHIND),
        (2701.0, Action.WAIT),
        (3599.0, Action.WAIT),
        (3600.0, Action.RENEW),
        (9999.0, Action.RENEW),
    ],
)
def test_an_hours_lease_through_its_life(now: float, action: Action) -> None:
    leases = table()
    leases.put(lease(0.0), 0.0)
    assert leases.ask(KEY, now)[0] is action


def test_keys_that_differ_in_anything_are_never_joined() -> None:
    leases = table()
    leases.put(lease(0.0), 0.0)
    other: dict[str, object] = {"kind": Kind.API, "project_id": 1, "narrowing": ("x",)}
    for name in (field.name for field in dataclasses.fields(LeaseKey)):
        changed = dataclasses.replace(KEY, **{name: other.get(name, "other")})  # type: ignore[arg-type]
        assert leases.ask(changed, 0.0) == (Action.RENEW, None), name


def test_a_refusal_drops_what_is_held_and_answers_for_half_a_minute() -> None:
    leases = table()
    leases.put(lease(0.0), 0.0)
    leases.fail(KEY, REFUSED, 10.0)
    assert len(leases) == 0
    with pytest.raises(GrantRefused):
        leases.ask(KEY, 10.0 + REFUSAL_MEMORY - 1)
    assert leases.ask(KEY, 10.0 + REFUSAL_MEMORY) == (Action.RENEW, None)


def test_an_outage_goes_on_serving_and_is_tried_again_ever_more_slowly() -> None:
    leases = table()
    leases.put(lease(0.0), 0.0)
    now, pauses = 2400.0, []
    for _ in range(6):
        assert leases.due(now) == [KEY]
        leases.fail(KEY, DOWN, now)
        assert leases.ask(KEY, now)[0] is Action.SERVE
        deadline = leases.next_deadline()
        assert deadline is not None
        pauses.append(deadline - now)
        now = deadline
    assert pauses == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    (held,) = leases
    assert held.problem is DOWN
    leases.put(lease(now), now)
    (held,) = leases
    assert held.problem is None


def test_an_outage_is_an_answer_for_five_seconds_where_nothing_is_held() -> None:
    leases = table()
    leases.fail(KEY, DOWN, 0.0)
    with pytest.raises(IssuerUnreachable):
        leases.ask(KEY, TRANSIENT_MEMORY - 0.1)
    assert leases.ask(KEY, TRANSIENT_MEMORY)[0] is Action.RENEW


def test_an_idle_lease_is_dropped_instead_of_renewed() -> None:
    leases = table()
    leases.put(lease(0.0), 0.0)
    now = 2400.0
    assert leases.due(now) == [KEY]
    leases.put(lease(now), now)
    assert leases.due(now + 2400.0) == []
    assert now + 2400.0 >= IDLE
    assert len(leases) == 0


def test_jitter_spreads_the_renewals_of_leases_made_at_once() -> None:
    deadlines = {table(jitter / 10).put(lease(0.0), 0.0).deadline for jitter in range(10)}
    assert len(deadlines) == 10
    assert min(deadlines) >= 2400.0 - 360.0


def test_forgetting_an_issuer_leaves_the_others() -> None:
    leases = table()
    other = dataclasses.replace(KEY, issuer="other")
    leases.put(lease(0.0), 0.0)
    leases.put(lease(0.0, key=other), 0.0)
    leases.fail(dataclasses.replace(KEY, scope="x"), REFUSED, 0.0)
    leases.forget("team")
    assert [held.lease.key for held in leases] == [other]
    assert leases.ask(dataclasses.replace(KEY, scope="x"), 0.0)[0] is Action.RENEW


def test_a_cluster_that_moved_takes_its_leases_along_and_no_others() -> None:
    leases, here, there = table(), Cluster("https://here.test", "ab"), Cluster("https://there.test", "ab")
    keys = {name: dataclasses.replace(KEY, kind=Kind.KUBERNETES, scope=name) for name in ("moved", "stays", "unsaid")}
    for key in keys.values():
        leases.put(dataclasses.replace(lease(0.0, key=key), cluster=here), 0.0)
    leases.put(lease(0.0), 0.0)
    leases.forget_moved("other", {"moved": there})
    assert len(list(leases)) == 4
    leases.forget_moved("team", {"moved": there, "stays": here, KEY.scope: there})
    assert {held.lease.key for held in leases} == {keys["stays"], keys["unsaid"], KEY}


def test_deadlines_that_count_no_more_are_swept_so_that_cost_grows_with_live_leases_only() -> None:
    leases = table()
    other = dataclasses.replace(KEY, scope="other")
    leases.put(lease(0.0, key=other), 0.0)
    for second in range(1000):
        leases.put(lease(float(second)), float(second))
    assert len(leases._deadlines) <= 2 * len(leases) + 17
    assert leases.next_deadline() == 2400.0
    assert leases.due(2400.0) == [other]
    assert leases.due(999.0 + 2400.0) == [KEY]


def test_the_memory_of_failures_is_bounded() -> None:
    leases = table()
    for number in range(MAX_FAILURES + 50):
        leases.fail(dataclasses.replace(KEY, scope=f"s{number}"), REFUSED, 0.0)
    assert leases.ask(dataclasses.replace(KEY, scope="s0"), 0.0)[0] is Action.RENEW
    with pytest.raises(GrantRefused):
        leases.ask(dataclasses.replace(KEY, scope=f"s{MAX_FAILURES + 49}"), 0.0)


class Leases(RuleBasedStateMachine):
    """The table against a dictionary that looks at every entry every time."""

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.table = table(jitter=0.5)
        self.model: dict[LeaseKey, Lease] = {}
        self.silent_until: dict[LeaseKey, float] = {}

    keys = st.sampled_from([dataclasses.replace(KEY, scope=name) for name in ("a", "b", "c")])

    @rule(seconds=st.floats(0.0, 4000.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=keys, life=st.sampled_from([10.0, 600.0, 3600.0]))
    def lease_arrives(self, key: LeaseKey, life: float) -> None:
        self.model[key] = lease(self.now, life, key)
        self.silent_until.pop(key, None)
        self.table.put(self.model[key], self.now)

    @rule(key=keys, refused=st.booleans())
    def getting_fails(self, key: LeaseKey, refused: bool) -> None:
        self.table.fail(key, REFUSED if refused else DOWN, self.now)
        self.silent_until[key] = self.now + (REFUSAL_MEMORY if refused else TRANSIENT_MEMORY)
        if refused:
            self.model.pop(key, None)

    @rule()
    def renewals(self) -> None:
        for key in self.table.due(self.now):
            assert self.model[key].expires_at > self.now
        kept = {held.lease.key for held in self.table}
        self.model = {key: kept_lease for key, kept_lease in self.model.items() if key in kept}
        deadline = self.table.next_deadline()
        assert deadline is None or deadline > self.now

    @rule(key=keys)
    def caller(self, key: LeaseKey) -> None:
        held = self.model.get(key)
        valid = held is not None and held.expires_at > self.now
        silent = self.silent_until.get(key, 0.0) > self.now
        try:
            action, answered = self.table.ask(key, self.now)
        except JuniperError:
            assert silent
            assert not valid
            return
        if not valid:
            assert (action, answered) == (Action.RENEW, None)
            return
        assert answered is not None
        assert answered.lease == held
        assert not (silent and action is not Action.SERVE)

    @invariant()
    def what_is_live_has_a_deadline(self) -> None:
        if len(self.table):
            assert self.table.next_deadline() is not None
        assert len(self.table._deadlines) <= 2 * max(len(self.table), 3) + 17


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_forgetting_a_session_leaves_everything_else() -> None:
    leases = table()
    within = dataclasses.replace(KEY, session="s1")
    leases.put(lease(0.0), 0.0)
    leases.put(lease(0.0, key=within), 0.0)
    leases.fail(dataclasses.replace(within, scope="other"), DOWN, 0.0)
    leases.forget_session("s1")
    assert [held.lease.key for held in leases] == [KEY]
    assert leases.ask(dataclasses.replace(within, scope="other"), 1.0) == (Action.RENEW, None)
