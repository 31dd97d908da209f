"""The attribute mapping: read from Entra's exported schema, and what is wrong with it, for how many people."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.standins.provisioning import provisioned_name as as_entra_does
from link_orchestrator.prediction.check import People, check, sign_in_after
from link_orchestrator.prediction.mapping import ANY, DEFAULT, AttributeMapping, provisioned_name, read_mapping
from shared.directory.matching.identity import Identity
from tests.link_orchestrator.running import App, Refusal, csv_file, graph

SWITCH = 'Switch([IsSoftDeleted], , "False", "True", "True", "False")'
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


def attribute(target: str, source: str, priority: int = 0) -> dict[str, Any]:
    """Return an attribute mapping as the portal's export has it."""
    function = "(" in source
    return {
        "defaultValue": "",
        "exportMissingReferences": False,
        "flowBehavior": "FlowWhenChanged",
        "flowType": "Always",
        "matchingPriority": priority,
        "targetAttributeName": target,
        "source": {
            "expression": source if function else f"[{source}]",
            "name": source.partition("(")[0],
            "parameters": [],
            "type": "Function" if function else "Attribute",
        },
    }


def exported(*mappings: dict[str, Any], **users: Any) -> dict[str, Any]:
    """Return a provisioning schema as the portal downloads it: groups and users of one rule."""
    groups = {"targetObjectName": "urn:ietf:params:scim:schemas:core:2.0:Group", "attributeMappings": []}
    user = {
        "enabled": True,
        "flowTypes": "Add, Update, Delete",
        "name": "Provision Microsoft Entra ID Users",
        "sourceObjectName": "User",
        "targetObjectName": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
        "attributeMappings": list(mappings),
    }
    return {"version": "1", "directories": [], "synchronizationRules": [{"objectMappings": [groups, user | users]}]}


# What Entra puts into the mapping of a new application outside the gallery.
OF_ENTRA = exported(
    attribute("userName", "userPrincipalName", 1),
    attribute("active", SWITCH),
    attribute("displayName", "displayName"),
    attribute('emails[type eq "work"].value', "mail"),
    attribute("externalId", "mailNickname"),
    attribute(f"{ENTERPRISE}:employeeNumber", "employeeId"),
)
RIGHT = exported(
    attribute("userName", "userPrincipalName", 2),
    attribute("active", SWITCH),
    attribute("externalId", "objectId", 1),
)


def codes(document: dict[str, Any], people: People | None = None) -> dict[str, int | None]:
    return {warned.code: warned.people for warned in check(read_mapping(document), people)}


def test_an_exported_schema_is_read() -> None:
    mapping = read_mapping(OF_ENTRA)
    assert mapping.attributes == {
        "userName": "userPrincipalName",
        "active": ANY,
        "emails": "mail",
        "externalId": "mailNickname",
        "employeeNumber": "employeeId",
    }
    assert mapping.matching == ("userName",)
    assert mapping.expressions == {"active": SWITCH}
    assert AttributeMapping.from_json(mapping.to_json()) == mapping
    assert read_mapping(RIGHT).matching == ("externalId", "userName")


@pytest.mark.parametrize(
    "name", ["jane@contoso.com", "j_d_northwind.example#EXT#@contoso.onmicrosoft.com", "#x", "a#EXT#@b"]
)
def test_a_guests_name_is_provisioned_as_entra_does(name: str) -> None:
    assert provisioned_name(name) == as_entra_does(name)


def test_what_has_no_value_is_not_sent() -> None:
    assert DEFAULT.values(Identity("1", "a@x.org")) == {"externalId": "1", "userName": "a@x.org"}


def test_the_right_mapping_is_not_warned_of() -> None:
    assert check(read_mapping(RIGHT), People({"userName=userPrincipalName": 5})) == []
    assert check(DEFAULT, None) == []


def test_one_that_finds_an_account_before_a_create_can_adopt_it_is_warned_of() -> None:
    assert [one.code for one in check(DEFAULT, None, adopts=True)] == ["adoptNeverReached"]
    assert (
        check(read_mapping(exported(ACTIVE, attribute("userName", "mail"), KEY)), None, adopts=True, name_id="mail")
        == []
    )


def test_external_id_from_mail_nickname_says_how_many_get_a_second_account_or_none() -> None:
    people = People({"userName=userPrincipalName+emails=mail": 7, "emails=mail": 1_200, "": 4})
    first, second, _ = check(read_mapping(OF_ENTRA), people)
    comes = "externalId comes from mailNickname"
    assert first.text == f"{comes}: 1,204 people whom no other look-up finds would get a second account"
    assert (first.people, first.remedy.split(",")[0]) == (1_204, first.remedy)
    assert "objectId to externalId" in first.remedy
    assert (second.code, second.people) == ("externalIdRefused", 7)
    assert second.text.startswith(f"{comes}: every write to 7 people whom another look-up finds would be refused")
    unknown = [one.text for one in check(read_mapping(OF_ENTRA), None)]
    assert "people whom no other look-up finds would get a second account" in unknown[0]
    assert "every write to people whom another look-up finds would be refused" in unknown[1]


def test_where_no_other_look_up_finds_anybody_no_write_is_said_to_be_refused() -> None:
    alone = exported(ACTIVE, attribute("userName", "userPrincipalName"), attribute("externalId", "mailNickname", 1))
    assert codes(alone) == {"externalIdNotKey": None}
    assert codes(alone, TEN) == {"externalIdNotKey": 10}


ACTIVE, KEY = attribute("active", SWITCH), attribute("externalId", "objectId", 1)
NAME = attribute("userName", "userPrincipalName", 1)
TEN = People({"userName=userPrincipalName": 6, "emails=mail": 4})


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (exported(NAME, ACTIVE, KEY, enabled=False), {"usersAreOff": 10}),
        (exported(ACTIVE, attribute("userName", "mail")), {"noMatching": 10, "nameIdDiffers": 6}),
        (
            exported(ACTIVE, NAME, attribute("externalId", "objectId", 2)),
            {"externalIdNotFirst": 10, "findsUnlinked": None},
        ),
        (
            exported(ACTIVE, NAME, attribute("externalId", "objectId")),
            {"externalIdNotKey": 4, "externalIdNotFirst": 10, "findsUnlinked": None},
        ),
        (
            exported(ACTIVE, attribute("userName", "employeeId", 2), KEY),
            {"keyNobodyCarries": 10, "nameIdDiffers": 6},
        ),
        (
            exported(ACTIVE, attribute("userName", 'Join("", [a])', 2), KEY),
            {"keyNotRead": 10, "nameIdDiffers": 6},
        ),
        (
            exported(ACTIVE, attribute("userName", "mail"), attribute("title", "jobTitle", 2), KEY),
            {"keyNotIndexed": None, "nameIdDiffers": 6},
        ),
        (exported(attribute("userName", "mail"), KEY), {"activeMissing": 10, "nameIdDiffers": 6}),
        (
            exported(
                attribute("active", 'Switch([IsSoftDeleted], , "False", "False", "True", "True")'),
                attribute("userName", "mail"),
                KEY,
            ),
            {"activeTurnedRound": 10, "nameIdDiffers": 6},
        ),
        (
            exported(
                attribute("active", 'IIF([accountEnabled]="True", "True", "False")'), attribute("userName", "mail"), KEY
            ),
            {"activeIgnoresScope": 10, "nameIdDiffers": 6},
        ),
        (exported(ACTIVE, KEY), {"userNameMissing": None}),
        (
            exported(NAME, ACTIVE, KEY, flowTypes="Update"),
            {"createsAreOff": None},
        ),
    ],
)
def test_a_wrong_mapping_is_warned_of_with_the_number_of_people(
    document: dict[str, Any], expected: dict[str, int | None]
) -> None:
    assert codes(document, TEN) == expected


def test_another_name_than_saml_sends_is_warned_of_for_those_who_are_called_so_today() -> None:
    people = People({"userName=userPrincipalName": 6, "userName=mail+emails=mail": 93, "userName=mail": 1})
    (found,) = check(DEFAULT, people, name_id="mail")
    assert (found.code, found.people) == ("nameIdDiffers", 94)
    assert "94 people would have another userName than SAML sends" in found.text
    assert found.remedy.startswith("Map mail to userName")
    assert check(DEFAULT, People({"userName=mail+userName=userPrincipalName": 9}), name_id="mail") == []
    assert check(DEFAULT, people, name_id="objectId") == [], "nobody is called by such an id"


def test_what_changed_names_mean_for_single_sign_on_is_said_with_the_source_that_keeps_most() -> None:
    people = People({"userName=userPrincipalName": 6, "userName=mail": 93})
    said = sign_in_after(DEFAULT, people, "mail")
    assert "looks people up by userName at sign-in does not find them any more" in said
    assert "map mail to userName" in said
    assert "93 of 99 people are called so now, and 6 by userPrincipalName" in said
    assert "finds them by the new name" in sign_in_after(DEFAULT, people, "userPrincipalName")
    assert "To keep the names" not in sign_in_after(DEFAULT, People({"userName=userPrincipalName": 6}), "mail")


def test_a_matching_attribute_that_nothing_feeds_is_never_sent() -> None:
    nothing = attribute("userName", "x", 2) | {"source": None}
    found = codes(exported(ACTIVE, nothing, KEY), TEN)
    assert found == {"keyNotSent": 10, "userNameMissing": None}


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"synchronizationRules": "all"},
        {"synchronizationRules": [{"objectMappings": [{"targetObjectName": "Group"}]}]},
        {"attributes": {"shoeSize": "mail"}},
        {"attributes": {"userName": "shoeSize"}},
        {"attributes": {"userName": ["mail"]}},
        {"attributes": {"userName": "mail"}, "matching": ["emails"]},
        {"attributes": {"userName": "mail"}, "matching": [1]},
    ],
)
async def test_what_is_no_mapping_is_refused(app: App, document: Any) -> None:
    with pytest.raises(Refusal, match="mapping") as refusal:
        await app.call("POST", "linking/mapping", document)
    assert refusal.value.status == 400


async def test_the_stored_mapping_is_checked_by_the_last_plan_and_predicts_the_next(app: App) -> None:
    assert (await app.call("GET", "linking/mapping"))["isDefault"] is True
    await app.bring(
        csv_file(
            {"userName": "ada@contoso.com"}, {"userName": "bob", "email": "bob@contoso.com", "emailVerified": "yes"}
        )
    )
    people = (graph(1, "ada@contoso.com", mailNickname="ada"), graph(2, "bob@contoso.com", mailNickname="bob"))
    run = await app.plan(*people)
    assert run["predicted"] == {"matched": 2}
    answer = await app.call("POST", "linking/mapping", OF_ENTRA)
    assert answer["countedBy"] == run["id"]
    told = {one["code"]: one.get("people") for one in answer["warnings"]}
    assert told == {"externalIdNotKey": 1, "externalIdRefused": 1, "findsUnlinked": None}
    assert answer == await app.call("GET", "linking/mapping")
    await app.call("POST", f"linking/runs/{run['id']}/cancel")
    await app.wait(f"linking/runs/{run['id']}", "cancelled")
    again = await app.plan(*people)
    assert again["options"]["mapping"] == answer["mapping"]
    # Ada's is linked by object id and found by name; bob's is not found, and his name is free.
    assert again["predicted"] == {"refused": 1, "created": 1}
    await app.call("POST", f"linking/runs/{again['id']}/cancel")
    await app.wait(f"linking/runs/{again['id']}", "cancelled")
    own = await app.plan(*people, mapping={"attributes": {"externalId": "objectId"}, "matching": ["externalId"]})
    assert own["predicted"] == {"matched": 2}, "a run may name its own"
