"""Match keys and decisions: examples of every decision, and what holds for any population whatsoever."""

from __future__ import annotations

import random
import string
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.directory.keys import fold
from shared.directory.matching.accounts import Decision, DecisionKind, stays_local
from shared.directory.matching.evidence import AccountFacts, Claim, MatchEvidence, evidence_for, holds
from shared.directory.matching.identity import Identity
from shared.directory.matching.match_keys import MatchKey, identity_keys, is_filler, numbers_contradict
from shared.directory.matching.policy import DEFAULT_RULES, MatchRule, Policy, Rule, Trust
from shared.directory.records.model import Status
from tests.link_orchestrator.join import plan

POLICY = Policy(verified_domains=frozenset({"contoso.com", "fabrikam.com"}))
OID = "11111111-0000-4000-8000-000000000001"
OTHER = "11111111-0000-4000-8000-000000000002"


def identity(upn: str = "jane@contoso.com", object_id: str = OID, **attributes: Any) -> Identity:
    return Identity(object_id, upn, **attributes)


def account(user_name: str = "jane@contoso.com", id: str = "a1", **attributes: Any) -> AccountFacts:
    return AccountFacts(id, "v1", user_name, **attributes)


def decision(one: Identity, *accounts: AccountFacts, policy: Policy = POLICY) -> Decision:
    return plan([one], accounts, policy)[one.object_id]


class TestKeys:
    def test_every_rule_gives_its_keys_in_the_order_of_the_policy(self) -> None:
        one = identity(
            mail="Jane.Doe@Contoso.com",
            proxy_addresses=("SMTP:Jane.Doe@contoso.com", "smtp:jd@contoso.com", "SIP:jane@contoso.com"),
            other_mails=("jane@home.example",),
            employee_id="0042",
        )
        assert [(key.rule, key.kind, key.value) for key in identity_keys(one, POLICY)] == [
            (Rule.EXTERNAL_ID, "externalId", OID),
            (Rule.SIGN_IN_OBJECT_ID, "objectId", OID),
            (Rule.NAME_ID, "nameId", "jane@contoso.com"),
            (Rule.USER_NAME, "userName", "jane@contoso.com"),
            (Rule.VERIFIED_EMAIL, "email", "jane.doe@contoso.com"),
            (Rule.EMAIL, "email", "jane.doe@contoso.com"),
            (Rule.EMAIL, "email", "jd@contoso.com"),
            (Rule.EMAIL, "email", "jane@home.example"),
            (Rule.EMAIL, "email", "jane@contoso.com"),
            (Rule.EMPLOYEE_NUMBER, "employeeNumber", "0042"),
        ]

    def test_a_guest_is_known_by_its_home_address_split_at_the_last_underscore(self) -> None:
        guest = identity("first_last_northwind.example#EXT#@contoso.onmicrosoft.com", user_type="Guest")
        names = [key.value for key in identity_keys(guest, POLICY) if key.rule is Rule.USER_NAME]
        assert names == [
            "first_last_northwind.example#ext#@contoso.onmicrosoft.com",
            "first_last@northwind.example",
            "first_last_northwind.example@contoso.onmicrosoft.com",
        ]

    def test_a_guest_name_without_a_home_domain_gives_no_home_address(self) -> None:
        names = [key.value for key in identity_keys(identity("jd_fabrikam_com#ext#@contoso.com"), POLICY)]
        assert "jd_fabrikam@com" not in names

    @pytest.mark.parametrize(
        ("source", "value"),
        [
            ("userPrincipalName", "jane@contoso.com"),
            ("mail", "jd@contoso.com"),
            ("objectId", OID),
            ("onPremisesImmutableId", "qZ8=="),
        ],
    )
    def test_the_name_id_comes_from_the_source_the_policy_names(self, source: Any, value: str) -> None:
        one = identity(mail="jd@contoso.com", on_premises_immutable_id="qZ8==")
        (key,) = [key for key in identity_keys(one, Policy(name_id_source=source)) if key.rule is Rule.NAME_ID]
        assert (key.attribute, key.literal, key.value) == (source, value, fold(value))

    @pytest.mark.parametrize("excluded", [frozenset({"JANE@contoso.com"}), frozenset()])
    def test_an_identity_has_the_keys_of_its_sign_ins_under_any_rules(self, excluded: frozenset[str]) -> None:
        rules = tuple(MatchRule(rule, Trust.STRONG) for rule in (Rule.EXTERNAL_ID, Rule.USER_NAME))
        keys = identity_keys(identity(), Policy(rules, excluded=excluded))
        assert {key.excluded for key in keys} == {bool(excluded)}
        assert [(key.rule, key.trust) for key in keys] == [
            *((rule.rule, rule.trust) for rule in rules),
            (Rule.SIGN_IN_OBJECT_ID, Trust.WEAK),
            (Rule.NAME_ID, Trust.WEAK),
        ]

    def test_a_guests_name_id_is_the_name_at_home_too_as_entra_issues_it(self) -> None:
        guest = identity("jd_fabrikam.com#EXT#@contoso.onmicrosoft.com")
        keys = [key.value for key in identity_keys(guest, POLICY) if key.rule is Rule.NAME_ID]
        assert keys == ["jd_fabrikam.com#ext#@contoso.onmicrosoft.com", "jd@fabrikam.com"]

    def test_a_deleted_users_former_name_is_a_weak_key(self) -> None:
        deleted = identity(OID.replace("-", "") + "jane@contoso.com")
        former = [key for key in identity_keys(deleted, POLICY) if key.attribute == "formerUserPrincipalName"]
        assert [(key.kind, key.value, key.trust) for key in former] == [
            ("nameId", "jane@contoso.com", Trust.WEAK),
            ("userName", "jane@contoso.com", Trust.WEAK),
            ("email", "jane@contoso.com", Trust.WEAK),
        ]

    @pytest.mark.parametrize("number", ["n/a", "N.A.", "0", "000", "-", " - ", "none", "TBD", "xxx", "unknown", "?"])
    def test_a_number_that_says_that_there_is_none_is_no_key(self, number: str) -> None:
        assert is_filler(number)
        assert not any(key.rule is Rule.EMPLOYEE_NUMBER for key in identity_keys(identity(employee_id=number), POLICY))

    @pytest.mark.parametrize("number", ["1", "007", "10", "x1", "NA7", "A-0"])
    def test_any_other_number_is_one(self, number: str) -> None:
        assert not is_filler(number)

    @pytest.mark.parametrize(
        ("left", "right", "contradict"),
        [
            ("7", "8", True),
            ("007", "7", False),
            ("A7", "a7", False),
            ("7", None, False),
            (None, None, False),
            ("7", "n/a", False),
            ("000", "7", False),
        ],
    )
    def test_two_numbers_contradict_each_other_if_both_are_there_and_differ(
        self, left: str | None, right: str | None, contradict: bool
    ) -> None:
        assert numbers_contradict(left, right) is contradict
        assert numbers_contradict(right, left) is contradict

    @pytest.mark.parametrize(
        ("text", "folded"),
        [
            ("  Jane@Contoso.com ", "jane@contoso.com"),
            ("\uff2aane@contoso.com", "jane@contoso.com"),
            ("Straße", "strasse"),
            ("ﬁona", "fiona"),
            ("JOSE\u0301", "josé"),
        ],
    )
    def test_values_fold_by_compatibility_and_case(self, text: str, folded: str) -> None:
        assert fold(text) == folded

    @given(st.text())
    def test_folding_twice_changes_nothing(self, text: str) -> None:
        assert fold(fold(text)) == fold(text)

    @given(st.text(alphabet=st.characters(max_codepoint=127)))
    def test_the_short_way_for_ascii_folds_as_the_long_way_does(self, text: str) -> None:
        assert fold(text) == unicodedata.normalize("NFKC", text).casefold().strip()

    def test_an_account_holds_a_key_only_if_it_carries_the_value_under_that_rule(self) -> None:
        key = MatchKey(Rule.VERIFIED_EMAIL, Trust.STRONG, "email", "jane@contoso.com", "mail", "jane@contoso.com")
        assert holds(key, account("x", verified_emails=("Jane@contoso.com",)))
        assert not holds(key, account("x", emails=("jane@contoso.com",)))

    def test_an_immutable_id_matches_in_its_own_case_only(self) -> None:
        policy = Policy(name_id_source="onPremisesImmutableId")
        keys = identity_keys(identity(on_premises_immutable_id="qZ8=="), policy)
        assert evidence_for(keys, account("x", name_id="qZ8=="))
        assert not evidence_for(keys, account("x", name_id="Qz8=="))


class TestPolicy:
    def test_a_policy_survives_json(self) -> None:
        policy = Policy(
            (MatchRule(Rule.EXTERNAL_ID, Trust.WEAK),), frozenset({"Contoso.com"}), "mail", frozenset({"A"})
        )
        assert Policy.from_json(policy.to_json()) == policy

    def test_what_a_policy_leaves_out_has_its_default(self) -> None:
        assert Policy.from_json({}) == Policy()

    @pytest.mark.parametrize(
        ("document", "names"),
        [
            ([], "policy"),
            ({"verifiedDomain": []}, "verifiedDomains"),
            ({"verifiedDomains": "contoso.com"}, "verifiedDomains"),
            ({"excluded": [1]}, "excluded"),
            ({"nameIdSource": "upn"}, "nameIdSource"),
            ({"nameIdSource": []}, "nameIdSource"),
            ({"rules": [{"rule": "userName"}]}, "rules"),
            ({"rules": "all"}, "rules"),
            ({"rules": [{"rule": "shoeSize", "trust": "strong"}]}, "rules"),
            ({"rules": [{"rule": "userName", "trust": "strong"}]}, "externalId"),
            ({"rules": [{"rule": "externalId", "trust": "strong"}] * 2}, "rules"),
        ],
    )
    def test_a_wrong_policy_is_refused_by_the_name_of_the_attribute(self, document: object, names: str) -> None:
        with pytest.raises(ValueError, match=names):
            Policy.from_json(document)


class TestDecisions:
    @pytest.mark.parametrize(
        ("one", "facts"),
        [
            (identity(), account("JANE@contoso.com")),
            (identity(), account("jd", external_id=OID.upper())),
            (identity("married@contoso.com"), account("jane@contoso.com", object_id=OID)),
            (identity(), account("jd", name_id="jane@contoso.com")),
            (
                identity(mail="j@contoso.com"),
                account("jd", emails=("x@x.example",), verified_emails=("J@contoso.com",)),
            ),
            (identity("jd_fabrikam.com#EXT#@contoso.onmicrosoft.com"), account("jd@fabrikam.com")),
        ],
        ids=["userName", "externalId", "signInObjectId", "nameId", "verifiedEmail", "guest"],
    )
    def test_one_account_on_strong_evidence_is_a_link(self, one: Identity, facts: AccountFacts) -> None:
        made = decision(one, facts)
        assert (made.kind, made.account) == (DecisionKind.LINK, facts)
        assert any(item.trust is Trust.STRONG for item in made.evidence)

    @pytest.mark.parametrize(
        ("one", "facts"),
        [
            (identity(mail="jd@contoso.com"), account("jd", emails=("jd@contoso.com",))),
            (identity(proxy_addresses=("smtp:jd@contoso.com",)), account("jd", verified_emails=("jd@contoso.com",))),
            (identity("new@contoso.com", other_mails=("jane@contoso.com",)), account()),
            (identity(employee_id="42"), account("jane@home.example", employee_number="42")),
            (identity(employee_id="42"), account("jd", employee_number="42")),
            (identity(account_enabled=False), account()),
            (identity(), account("\uff4aane@contoso.com")),
            (identity("strasse@contoso.com"), account("straße@contoso.com")),
            (identity("mike@contoso.com"), account("mi\u212ae@contoso.com")),
            (identity("straße@contoso.com"), account("\u017ftraße@contoso.com")),
        ],
        ids=[
            "mail",
            "alias",
            "alias as userName",
            "number beside a foreign name",
            "employee",
            "disabled",
            "full width",
            "sharp s",
            "kelvin sign",
            "long s",
        ],
    )
    def test_weak_evidence_or_a_disabled_identity_waits_for_a_person(self, one: Identity, facts: AccountFacts) -> None:
        assert decision(one, facts).kind is DecisionKind.REVIEW

    def test_an_administrator_may_trust_a_rule_more_but_not_beyond_the_verified_domains(self) -> None:
        rules = (MatchRule(Rule.EXTERNAL_ID, Trust.STRONG), MatchRule(Rule.EMAIL, Trust.STRONG))
        policy = replace(POLICY, rules=rules)
        one = identity(other_mails=("jd@contoso.com", "jd@home.example"))
        assert decision(one, account("x", emails=("jd@contoso.com",)), policy=policy).kind is DecisionKind.LINK
        outside = decision(one, account("x", emails=("jd@home.example",)), policy=policy)
        assert outside.kind is DecisionKind.OUTSIDE_VERIFIED_DOMAINS

    def test_several_accounts_for_one_identity_are_ambiguous_even_if_one_is_strong(self) -> None:
        made = decision(identity(mail="jd@contoso.com"), account(), account("jd", "a2", emails=("jd@contoso.com",)))
        assert (made.kind, made.others) == (DecisionKind.AMBIGUOUS, ("a1", "a2"))

    def test_an_account_linked_to_this_identity_settles_it_whatever_else_matches(self) -> None:
        linked = account("x", "a2", linked_identity=OID, external_id=OID, status=Status.CLAIMED)
        made = decision(identity(), account(), linked)
        assert (made.kind, made.account, made.others) == (DecisionKind.ALREADY_LINKED, linked, ("a1",))

    def test_two_accounts_linked_to_one_identity_are_a_conflict(self) -> None:
        linked = account("x", linked_identity=OID, external_id=OID)
        assert decision(identity(), linked, linked._replace(id="a2")).kind is DecisionKind.CONFLICT

    def test_an_account_linked_to_another_identity_is_a_conflict(self) -> None:
        made = decision(identity(), account(linked_identity=OTHER, status=Status.CLAIMED, external_id=OID))
        assert made.kind is DecisionKind.CONFLICT
        assert "linked to another identity" in made.reason

    @pytest.mark.parametrize(
        ("external_id", "kind"), [(OID, DecisionKind.ALREADY_LINKED), ("jane", DecisionKind.CONFLICT)]
    )
    def test_a_provisioned_account_is_linked_if_it_was_provisioned_under_the_object_id(
        self, external_id: str, kind: DecisionKind
    ) -> None:
        assert decision(identity(), account(external_id=external_id, status=Status.PROVISIONED)).kind is kind

    def test_a_name_that_passed_to_somebody_else_is_a_conflict(self) -> None:
        assert decision(identity(), account(object_id=OTHER)).kind is DecisionKind.CONFLICT

    @pytest.mark.parametrize("rules", [DEFAULT_RULES, (MatchRule(Rule.EXTERNAL_ID, Trust.WEAK), DEFAULT_RULES[3])])
    def test_so_is_an_account_that_carries_another_object_id_under_whatever_rules(self, rules: Any) -> None:
        policy = replace(POLICY, rules=rules)
        for facts in (account(external_id=OTHER.upper()), account(object_id=OTHER)):
            made = decision(identity(), facts, policy=policy)
            assert made.kind is DecisionKind.CONFLICT
            foreign = replace(policy, foreign_object_ids=True)
            assert decision(identity(), facts, policy=foreign).kind is DecisionKind.LINK
        assert decision(identity(), account(external_id="hr-7"), policy=policy).kind is DecisionKind.LINK

    @pytest.mark.parametrize("source", ["objectId", "onPremisesImmutableId"])
    def test_so_is_one_whose_lasting_name_id_is_another(self, source: Any) -> None:
        policy = replace(POLICY, name_id_source=source)
        assert decision(identity(), account(name_id="qZ8=="), policy=policy).kind is DecisionKind.CONFLICT

    def test_an_immutable_id_in_another_case_is_another(self) -> None:
        policy = replace(POLICY, name_id_source="onPremisesImmutableId")
        one = identity(on_premises_immutable_id="qZ8==")
        assert decision(one, account(name_id="Qz8=="), policy=policy).kind is DecisionKind.CONFLICT
        assert decision(one, account(name_id="qZ8=="), policy=policy).kind is DecisionKind.LINK

    def test_two_strong_claims_on_one_account_are_a_conflict_for_both(self) -> None:
        twin = identity("x@contoso.com", OTHER, mail="jane@contoso.com")
        decisions = plan([identity(), twin], [account(verified_emails=("jane@contoso.com",))], POLICY)
        assert {made.kind for made in decisions.values()} == {DecisionKind.CONFLICT}
        assert decisions[OID].others == (OTHER,)

    def test_a_weak_claim_by_the_very_address_that_a_strong_one_rests_on_is_a_conflict_and_makes_it_a_review(
        self,
    ) -> None:
        alias = identity("x@contoso.com", OTHER, other_mails=("jane@contoso.com",))
        for facts in (account(), account(emails=("jane@contoso.com",))):
            decisions = plan([identity(), alias], [facts], POLICY)
            assert [decisions[OID].kind, decisions[OTHER].kind] == [DecisionKind.REVIEW, DecisionKind.CONFLICT]
            assert decisions[OID].others == (OTHER,)
            assert "another identity has that very address" in decisions[OID].reason

    def test_so_does_the_alias_of_a_verified_address_and_the_former_name_of_a_deleted_user(self) -> None:
        facts = account("jd", verified_emails=("jane@contoso.com",))
        alias = identity("x@contoso.com", OTHER, proxy_addresses=("smtp:jane@contoso.com",))
        mail = identity(mail="jane@contoso.com")
        assert plan([mail, alias], [facts], POLICY)[OID].kind is DecisionKind.REVIEW
        deleted = identity(OTHER.replace("-", "") + "jane@contoso.com", OTHER)
        assert plan([identity(), deleted], [account()], POLICY)[OID].kind is DecisionKind.REVIEW

    def test_a_weak_claim_by_something_else_does_not_stop_a_strong_one_which_says_so(self) -> None:
        facts = account(emails=("jd@contoso.com",), employee_number="42")
        other = identity("x@contoso.com", OTHER, other_mails=("jd@contoso.com",), employee_id="42")
        decisions = plan([identity(employee_id="42"), other], [facts], POLICY)
        assert [decisions[OID].kind, decisions[OTHER].kind] == [DecisionKind.LINK, DecisionKind.CONFLICT]
        assert "1 other identity by weak evidence" in decisions[OID].reason
        assert decisions[OID].others == (OTHER,)

    def test_so_does_whoever_has_the_accounts_number_where_the_one_of_its_name_has_none(self) -> None:
        former = identity("jane.doe@contoso.com", OTHER, employee_id="42")
        made = plan([identity(), former], [account(employee_number="42")], POLICY)[OID]
        assert (made.kind, made.others) == (DecisionKind.REVIEW, (OTHER,))
        assert "another identity has the account's employee number" in made.reason
        signed_in = account(employee_number="42", object_id=OID)
        assert plan([identity(), former], [signed_in], POLICY)[OID].kind is DecisionKind.LINK

    def test_an_alias_contests_no_claim_that_an_object_id_proves(self) -> None:
        alias = identity("x@contoso.com", OTHER, other_mails=("jane@contoso.com",))
        assert plan([identity(), alias], [account(object_id=OID)], POLICY)[OID].kind is DecisionKind.LINK

    def test_numbers_that_contradict_each_other_make_a_strong_claim_a_review(self) -> None:
        made = decision(identity(employee_id="43"), account(employee_number="42"))
        assert (made.kind, "employee numbers contradict" in made.reason) == (DecisionKind.REVIEW, True)
        assert decision(identity(employee_id="0042"), account(employee_number="42")).kind is DecisionKind.LINK
        assert decision(identity(employee_id="n/a"), account(employee_number="42")).kind is DecisionKind.LINK

    def test_a_pair_that_was_taken_apart_waits_for_a_person_however_strong_the_claim(self) -> None:
        made = decision(identity(), account(object_id=OID, parted=(OID.upper(),)))
        assert (made.kind, "only a person joins them again" in made.reason) == (DecisionKind.REVIEW, True)
        assert decision(identity(), account(parted=(OTHER,))).kind is DecisionKind.LINK

    def test_a_link_to_a_deactivated_account_says_so(self) -> None:
        made = decision(identity(), account(active=False))
        assert (made.kind, "deactivated" in made.reason) == (DecisionKind.LINK, True)

    def test_look_alike_letters_are_called_so(self) -> None:
        assert "look-alike letters" in decision(identity(), account("\uff4aane@contoso.com")).reason

    @pytest.mark.parametrize(
        ("upn", "policy", "said"),
        [
            ("jane@contoso.com", Policy(), "no verified domains are set"),
            ("jane@elsewhere.example", POLICY, "outside the verified domains"),
            ("jane", POLICY, "a name without a verified domain"),
        ],
    )
    def test_an_address_that_proves_nothing_says_why(self, upn: str, policy: Policy, said: str) -> None:
        made = decision(identity(upn), account(upn), policy=policy)
        assert (made.kind, said in made.reason) == (DecisionKind.OUTSIDE_VERIFIED_DOMAINS, True)

    def test_a_foreign_address_counts_neither_beside_other_evidence_nor_as_a_rival(self) -> None:
        address = "jane@home.example"
        stranger = identity("x@contoso.com", OTHER, other_mails=(address,))
        accounts = [account(emails=(address,)), account(address, "a2")]
        made = plan([identity(other_mails=(address,)), stranger], accounts, POLICY)
        assert (made[OID].kind, made[OID].account) == (DecisionKind.LINK, accounts[0])
        assert "1 other identity by an address outside" in made[OID].reason
        assert "1 other account by an address outside" in made[OID].reason

    def test_a_value_that_more_than_three_carry_is_no_weak_evidence(self) -> None:
        team = [account(f"p{n}", f"a{n}", emails=("team@contoso.com",)) for n in range(4)]
        one = identity(other_mails=("team@contoso.com",))
        assert decision(one, *team).kind is DecisionKind.NO_ACCOUNT
        assert decision(one, *team[:3]).kind is DecisionKind.AMBIGUOUS
        assert decision(one, *team[:3], account("team@contoso.com", "a9")).kind is DecisionKind.NO_ACCOUNT

    def test_nor_does_it_weaken_a_strong_claim(self) -> None:
        people = [
            identity(f"p{n}@contoso.com", f"{n:08x}-0000-4000-8000-000000000000", other_mails=("jane@contoso.com",))
            for n in range(4)
        ]
        assert plan([identity(), *people], [account()], POLICY)[OID].kind is DecisionKind.LINK
        assert plan([identity(), *people[:3]], [account()], POLICY)[OID].kind is DecisionKind.REVIEW

    def test_two_weak_claims_on_one_account_are_a_conflict_for_both(self) -> None:
        one = identity("x@contoso.com", mail="jd@contoso.com")
        other = identity("y@contoso.com", OTHER, other_mails=("jd@contoso.com",))
        decisions = plan([one, other], [account("jd", emails=("jd@contoso.com",))], POLICY)
        assert [made.kind for made in decisions.values()] == [DecisionKind.CONFLICT] * 2
        assert [made.others for made in decisions.values()] == [(OTHER,), (OID,)]

    @pytest.mark.parametrize("named", [OTHER, f" {{{OTHER.upper()}}}", "X@contoso.com"], ids=["GUID", "{GUID}", "name"])
    def test_an_excluded_identity_stands_in_nobodys_way_and_its_row_names_the_account(self, named: str) -> None:
        twin = identity("x@contoso.com", OTHER, mail="jane@contoso.com")
        facts = account(verified_emails=("jane@contoso.com",))
        decisions = plan([identity(), twin], [facts], replace(POLICY, excluded=frozenset({named})))
        assert [decisions[OID].kind, decisions[OTHER].kind] == [DecisionKind.LINK, DecisionKind.EXCLUDED]
        assert decisions[OTHER].account == facts
        assert "1 excluded identity" in decisions[OID].reason

    @pytest.mark.parametrize("rules", [DEFAULT_RULES, (DEFAULT_RULES[0], DEFAULT_RULES[3])])
    def test_but_the_account_that_its_sign_in_opened_goes_to_nobody_else(self, rules: Any) -> None:
        twin = identity("x@contoso.com", OTHER)
        policy = replace(POLICY, rules=rules, excluded=frozenset({OTHER}))
        made = plan([identity(), twin], [account(name_id="x@contoso.com")], policy)[OID]
        assert (made.kind, made.others) == (DecisionKind.CONFLICT, (OTHER,))
        assert "excluded identity" in made.reason

    @pytest.mark.parametrize("trust", [None, Trust.WEAK, Trust.STRONG])
    @pytest.mark.parametrize(
        ("rule", "sign_in"),
        [(Rule.NAME_ID, {"name_id": "x@contoso.com"}), (Rule.SIGN_IN_OBJECT_ID, {"object_id": OTHER})],
    )
    def test_nor_does_one_that_anothers_sign_in_opened_whatever_the_rule_is_worth(
        self, rule: Rule, sign_in: dict[str, str], trust: Trust | None
    ) -> None:
        rules = (DEFAULT_RULES[0], DEFAULT_RULES[3], *([MatchRule(rule, trust)] if trust else []))
        policy = replace(POLICY, rules=rules, foreign_object_ids=True)
        made = plan([identity(), identity("x@contoso.com", OTHER)], [account(**sign_in)], policy)
        assert [one.kind for one in made.values()] == [DecisionKind.CONFLICT] * 2
        assert made[OID].others == (OTHER,)

    @pytest.mark.parametrize("left", [{"retired": True}, {"parted": (OTHER,)}], ids=["deleted over SCIM", "released"])
    def test_an_object_id_that_a_link_here_left_behind_is_no_foreign_one(self, left: dict[str, Any]) -> None:
        policy = replace(POLICY, foreign_object_ids=True)
        assert decision(identity(), account(object_id=OTHER), policy=policy).kind is DecisionKind.LINK
        assert decision(identity(), account(object_id=OTHER, **left), policy=policy).kind is DecisionKind.CONFLICT

    @pytest.mark.parametrize(
        "former",
        [
            identity("x@contoso.com", OTHER, other_mails=("jane@contoso.com",)),
            identity("x@contoso.com", OTHER, mail="jane@contoso.com"),
            identity(OTHER.replace("-", "") + "jane@contoso.com", OTHER),
        ],
        ids=["an alias", "the mail", "before it was deleted"],
    )
    def test_a_freed_name_that_was_a_name_id_is_for_a_person(self, former: Identity) -> None:
        made = plan([identity(), former], [account("jdoe", name_id="jane@contoso.com")], POLICY)
        assert (made[OID].kind, made[OID].others) == (DecisionKind.REVIEW, (OTHER,))
        assert made[OTHER].kind is DecisionKind.CONFLICT

    def test_an_alias_that_was_a_name_id_is_weak_evidence(self) -> None:
        one = identity("x@contoso.com", other_mails=("jane@contoso.com",))
        assert decision(one, account("jdoe", name_id="jane@contoso.com")).kind is DecisionKind.REVIEW

    def test_an_account_that_only_an_excluded_identity_matches_says_so(self) -> None:
        assert "Only an excluded identity" in stays_local(account(), excluded=True).reason

    def test_a_protected_account_is_never_linked(self) -> None:
        assert decision(identity(), account(protected=True)).kind is DecisionKind.PROTECTED

    def test_an_address_outside_the_verified_domains_proves_nothing(self) -> None:
        made = decision(identity("jane@elsewhere.example"), account("jane@elsewhere.example"))
        assert made.kind is DecisionKind.OUTSIDE_VERIFIED_DOMAINS
        assert decision(identity("jane"), account("jane")).kind is DecisionKind.OUTSIDE_VERIFIED_DOMAINS

    def test_neither_does_an_address_there_that_the_application_verified(self) -> None:
        address = "jane@elsewhere.example"
        made = decision(identity(mail=address), account("jd", verified_emails=(address,)))
        assert made.kind is DecisionKind.OUTSIDE_VERIFIED_DOMAINS

    @pytest.mark.parametrize("domain", ["evilcontoso.com", "mail.contoso.com", "contoso.com.example", "contoso"])
    def test_a_domain_is_verified_by_its_whole_name(self, domain: str) -> None:
        made = decision(identity(f"jane@{domain}"), account(f"jane@{domain}"))
        assert made.kind is DecisionKind.OUTSIDE_VERIFIED_DOMAINS

    @pytest.mark.parametrize("enabled", [True, False])
    def test_an_identity_without_an_account_says_whether_one_will_be_created(self, enabled: bool) -> None:
        made = decision(identity(account_enabled=enabled))
        assert made.kind is DecisionKind.NO_ACCOUNT
        assert ("provisioning creates one" in made.reason) is enabled

    @pytest.mark.parametrize(("status", "word"), [(Status.LOCAL, "stays as it is"), (Status.CLAIMED, "linked")])
    def test_an_account_without_an_identity_stays_local(self, status: Any, word: str) -> None:
        made = stays_local(account(status=status))
        assert made.kind is DecisionKind.NO_IDENTITY
        assert word in made.reason

    def test_no_reason_and_no_evidence_holds_a_persons_value(self) -> None:
        one = identity(mail="jane@contoso.com", employee_id="42")
        for facts in (account(), account(protected=True), account(linked_identity=OTHER), account(object_id=OTHER)):
            made = decision(one, facts._replace(employee_number="42", emails=("jane@contoso.com",)))
            shown = made.reason + str([item.to_json() for item in made.evidence])
            assert "jane" not in shown
            assert "42" not in shown

    @pytest.mark.parametrize("outside", [True, False])
    def test_evidence_survives_json_without_its_value(self, outside: bool) -> None:
        item = MatchEvidence(Rule.USER_NAME, Trust.STRONG, "userPrincipalName", outside, not outside, "jane@x.org")
        assert MatchEvidence.from_json(item.to_json()) == item._replace(value="")

    @given(
        st.sampled_from([None, *Trust]),
        st.frozensets(st.text("0123456789abcdef", min_size=16, max_size=16), max_size=3),
        st.booleans(),
        st.booleans(),
    )
    def test_a_claim_survives_as_text(
        self, trust: Trust | None, addresses: frozenset[str], sure: bool, excluded: bool
    ) -> None:
        one = Claim(trust, addresses, sure, excluded)
        assert one.to_text()
        assert Claim.from_text(one.to_text()) == one


# Few names and few attributes each, so that about every other identity finds an account and many collide: shared and
# swapped addresses, names used again, look-alikes (full-width, Kelvin sign), chains of aliases, foreign domains.
NAMES = st.sampled_from(["k", "K", "\u212a", "\uff4b", "a", "b", "c", "d", "e"])
DOMAINS = st.sampled_from(["contoso.com", "contoso.com", "CONTOSO.com", "elsewhere.example"])
ADDRESSES = st.builds("{}@{}".format, NAMES, DOMAINS)
GUESTS = NAMES.map("{}_elsewhere.example#EXT#@contoso.onmicrosoft.com".format)
GUEST_OF = "_elsewhere.example#ext#@contoso.onmicrosoft.com"
OBJECT_IDS = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(5)]


def rarely(values: st.SearchStrategy[str], one_in: int = 5) -> st.SearchStrategy[str | None]:
    return st.integers(1, one_in).flatmap(lambda number: values if number == 1 else st.none())


def few(values: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return rarely(values, 4).map(lambda value: (value,) if value else ())


@st.composite
def populations(draw: st.DrawFn) -> tuple[list[Identity], list[AccountFacts], Policy]:
    identities = [
        Identity(
            object_id,
            draw(st.one_of(ADDRESSES, ADDRESSES, GUESTS)),
            draw(rarely(ADDRESSES, 2)),
            draw(few(ADDRESSES.map("smtp:{}".format))),
            draw(few(ADDRESSES)),
            draw(rarely(st.sampled_from("12"))),
            account_enabled=draw(st.integers(0, 5)) > 0,
        )
        for object_id in OBJECT_IDS[: draw(st.integers(1, 5))]
    ]
    accounts = [
        AccountFacts(
            f"a{number}",
            "v1",
            draw(ADDRESSES),
            draw(rarely(st.sampled_from([*OBJECT_IDS, "hr-1"]))),
            draw(few(ADDRESSES)),
            draw(few(ADDRESSES)),
            draw(rarely(ADDRESSES, 8)),
            draw(rarely(st.sampled_from(OBJECT_IDS), 8)),
            draw(rarely(st.sampled_from("12"))),
            draw(st.integers(0, 5)) == 5,
            status=draw(st.sampled_from([*[Status.LOCAL] * 4, Status.CLAIMED, Status.PROVISIONED])),
        )
        for number in range(draw(st.integers(1, 5)))
    ]
    policy = replace(POLICY, excluded=draw(rarely(st.sampled_from(OBJECT_IDS)).map(lambda id: frozenset({id or ""}))))
    return identities, accounts, policy


def proves(one: Identity, facts: AccountFacts) -> bool:
    """Strong evidence, said again in the plainest way: equal but for ASCII case, addresses in contoso.com."""
    upn, mail = plain(one.user_principal_name), plain(one.mail)
    return (
        one.object_id in (facts.external_id, facts.object_id)
        or plain(facts.name_id)
        in {upn, upn.replace("_elsewhere.example#ext#@contoso.onmicrosoft.com", "@elsewhere.example")}
        or (upn == plain(facts.user_name) and upn.endswith("@contoso.com"))
        or (mail in map(plain, facts.verified_emails) and mail.endswith("@contoso.com"))
    )


def plain(value: str | None) -> str:
    return (value or "").translate({ord(letter): letter.lower() for letter in string.ascii_uppercase})


def apply(decisions: dict[str, Decision], accounts: Sequence[AccountFacts]) -> list[AccountFacts]:
    linked = {
        made.account.id: object_id
        for object_id, made in decisions.items()
        if made.kind is DecisionKind.LINK and made.account
    }
    return [
        facts._replace(status=Status.CLAIMED, external_id=linked[facts.id], linked_identity=linked[facts.id])
        if facts.id in linked
        else facts
        for facts in accounts
    ]


class TestAnyPopulation:
    @given(populations())
    @settings(max_examples=100)
    def test_a_link_is_one_to_one_on_strong_evidence_that_nobody_contests(
        self, population: tuple[list[Identity], list[AccountFacts], Policy]
    ) -> None:
        identities, accounts, policy = population
        links = {id: made for id, made in plan(*population).items() if made.kind is DecisionKind.LINK}
        taken = [made.account.id for made in links.values() if made.account]
        assert len(taken) == len(set(taken)) == len(links)
        for one in identities:
            if made := links.get(one.object_id):
                assert made.account is not None
                assert not made.account.protected
                assert made.account.status is Status.LOCAL
                assert one.account_enabled
                assert not policy.excludes(one.object_id, one.user_principal_name)
                claimants = [
                    other
                    for other in identities
                    if not policy.excludes(other.object_id, other.user_principal_name) and proves(other, made.account)
                ]
                assert claimants == [one]
                strong = [key for key in identity_keys(one, policy) if key.trust is Trust.STRONG and not key.outside]
                matched = [facts for facts in accounts if evidence_for(strong, facts)]
                assert matched == [made.account]

    @given(populations(), st.randoms(use_true_random=False))
    @settings(max_examples=100)
    def test_the_order_of_accounts_and_identities_changes_nothing(
        self, population: tuple[list[Identity], list[AccountFacts], Policy], order: random.Random
    ) -> None:
        identities, accounts, policy = population
        before = plan(identities, accounts, policy)
        order.shuffle(identities)
        order.shuffle(accounts)
        assert plan(identities, accounts, policy) == before

    @given(populations())
    @settings(max_examples=100)
    def test_planning_again_after_linking_plans_no_link(
        self, population: tuple[list[Identity], list[AccountFacts], Policy]
    ) -> None:
        identities, accounts, policy = population
        first = plan(identities, accounts, policy)
        again = plan(identities, apply(first, accounts), policy)
        assert DecisionKind.LINK not in {made.kind for made in again.values()}
        for object_id, made in first.items():
            if made.kind is DecisionKind.LINK:
                assert again[object_id].kind is DecisionKind.ALREADY_LINKED


@pytest.mark.parametrize("trust", Trust)
def test_a_name_that_is_the_accounts_address_is_weak_evidence_whatever_the_trust(trust: Trust) -> None:
    policy = replace(POLICY, rules=(*DEFAULT_RULES[:5], MatchRule(Rule.EMAIL, trust)))
    near = account("jd", emails=("jane@contoso.com",), verified_emails=("jane@contoso.com",))
    found = decision(identity(), near, policy=policy)
    assert (found.kind, [item.attribute for item in found.evidence]) == (DecisionKind.REVIEW, ["userPrincipalName"])
