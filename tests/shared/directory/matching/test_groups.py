"""Which of Entra's groups is which group here: every decision, and that none but one without a doubt is linked."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.directory.matching.groups import GroupDecisionKind, decide_group, stays_local
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Group, Status

KIND = GroupDecisionKind
LOCAL = Group.new("g1", {"displayName": "Sales"}, Status.LOCAL, "2026-01-01T00:00:00.000Z")
MANAGED = Group.new("g2", {"displayName": "Sales", "externalId": "OID"}, Status.CLAIMED, "2026-01-01T00:00:00.000Z")
OTHER = replace(MANAGED, id="g3", status=Status.PROVISIONED)
POLICY = Policy()


@pytest.mark.parametrize(
    ("alike", "named", "carrying", "policy", "kind", "group"),
    [
        ((), LOCAL, (), POLICY, KIND.LINK, LOCAL),
        ((), replace(LOCAL, external_id="oid"), (replace(LOCAL, external_id="oid"),), POLICY, KIND.LINK, LOCAL),
        ((), None, (), POLICY, KIND.NO_GROUP, None),
        ((), None, (MANAGED,), POLICY, KIND.ALREADY_LINKED, MANAGED),
        ((), LOCAL, (MANAGED,), POLICY, KIND.ALREADY_LINKED, MANAGED),
        (("x",), MANAGED, (MANAGED,), POLICY, KIND.ALREADY_LINKED, MANAGED),
        ((), None, (MANAGED, OTHER), POLICY, KIND.CONFLICT, None),
        (("x",), LOCAL, (), POLICY, KIND.CONFLICT, LOCAL),
        (("x",), None, (), POLICY, KIND.CONFLICT, None),
        ((), replace(MANAGED, external_id="x"), (), POLICY, KIND.CONFLICT, MANAGED),
        ((), replace(MANAGED, external_id=None), (), POLICY, KIND.CONFLICT, MANAGED),
        ((), LOCAL, (), Policy(excluded=frozenset({"OID"})), KIND.EXCLUDED, None),
    ],
)
def test_each_case_has_its_decision(
    alike: tuple[str, ...],
    named: Group | None,
    carrying: tuple[Group, ...],
    policy: Policy,
    kind: KIND,
    group: Group | None,
) -> None:
    decision = decide_group("oid", alike, named, carrying, policy)
    assert (decision.kind, decision.group and decision.group.id) == (kind, group and group.id)
    assert decision.reason.endswith(".")


group_of = st.builds(
    lambda id, status, external: replace(LOCAL, id=id, status=status, external_id=external),
    st.sampled_from(["a", "b"]),
    st.sampled_from(Status),
    st.sampled_from([None, "oid", "OID", "other"]),
)


@given(
    alike=st.lists(st.sampled_from(["x", "y"]), max_size=2),
    named=st.none() | group_of,
    carrying=st.lists(group_of.filter(lambda group: (group.external_id or "").lower() == "oid"), max_size=2),
    excluded=st.booleans(),
)
def test_only_a_local_group_that_nothing_else_claims_is_linked(
    alike: list[str], named: Group | None, carrying: list[Group], excluded: bool
) -> None:
    decision = decide_group("oid", alike, named, carrying, Policy(excluded=frozenset({"oid"} if excluded else ())))
    managed = [group for group in carrying if group.status is not Status.LOCAL]
    certain = named is not None and named.status is Status.LOCAL and not (alike or managed or excluded)
    assert (decision.kind is KIND.LINK) is certain
    if decision.kind is KIND.LINK:
        assert decision.group == named


def test_a_group_without_a_counterpart_stays_as_it_is() -> None:
    decision = stays_local(LOCAL)
    assert (decision.kind, decision.group) == (KIND.LOCAL, LOCAL)
