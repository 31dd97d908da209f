"""Our engine beside scim2-models', which scim2-server stands on: the same filters and PATCHes, drawn from one seed.

Where the answers differ, the difference has a reason in a table here; one without a reason fails, and so does a reason
that nothing needs.
"""

from __future__ import annotations

import collections
import json
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.scim.document import normalise
from shared.scim.errors import ScimError
from shared.scim.evaluate import compile_filter
from shared.scim.filter import parse_filter
from shared.scim.patch import apply, parse_operations
from shared.scim.schema import ENTERPRISE_USER_URN, USER

FILTERS, PATCHES = 3_000, 2_000

Case = dict[str, Any]
Differs = Callable[[Case, Any, Any], bool]
"""Tells of a case, our answer and theirs whether a reason explains the difference."""

WORDS = ("ada", "Ada", "ADA L", "bob", "Straße", "strasse", "x@contoso.com", "Ada@Contoso.com", "work", "home", "Dr")


def document(draw: random.Random) -> Case:
    """Return a valid user with some of the attributes that the cases are about."""
    body: Case = {"schemas": [USER.schema.urn], "id": "1", "userName": draw.choice(WORDS)}
    for name in ("title", "nickName", "displayName"):
        if draw.random() < 0.5:
            body[name] = draw.choice(WORDS)
    if draw.random() < 0.7:
        body["active"] = draw.random() < 0.5
    if draw.random() < 0.6:
        body["name"] = {part: draw.choice(WORDS) for part in ("givenName", "familyName") if draw.random() < 0.8}
    for name in ("emails", "phoneNumbers"):
        if draw.random() < 0.7:
            types = draw.sample(["work", "home", "other"], draw.randint(1, 3))
            body[name] = [element(draw, name, kind) for kind in types]
            if draw.random() < 0.5:
                body[name][0]["primary"] = True
    if draw.random() < 0.6:
        body["schemas"].append(ENTERPRISE_USER_URN)
        body[ENTERPRISE_USER_URN] = {"department": draw.choice(WORDS), "employeeNumber": draw.choice(["7", "12"])}
    return normalise(USER, body, id="1")


def element(draw: random.Random, name: str, kind: str) -> Case:
    value = draw.choice(("x@contoso.com", "ada@contoso.com")) if name == "emails" else draw.choice(("+4930123", "112"))
    return {"value": value, "type": kind}


TEXTS = ("userName", "USERNAME", "title", "nickName", "displayName", "name.givenName", "name.familyName", "id",
         "emails.value", "emails.type", "phoneNumbers.value", f"{ENTERPRISE_USER_URN}:department",
         f"{ENTERPRISE_USER_URN}:employeeNumber", f"{USER.schema.urn}:title")  # fmt: skip
OPERATORS = ("eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le", "Eq")


def compare(draw: random.Random, names: tuple[str, ...]) -> str:
    name = draw.choice(names)
    if draw.random() < 0.15:
        return f"{name} pr"
    return f"{name} {draw.choice(OPERATORS)} {json.dumps(draw.choice((*WORDS, '7', '112')), ensure_ascii=False)}"


def term(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.55:
        return compare(draw, TEXTS)
    if kind < 0.7:
        inner = " and ".join(compare(draw, ("type", "value")) for _ in range(draw.randint(1, 2)))
        return f"{draw.choice(('emails', 'phoneNumbers'))}[{inner}]"
    if kind < 0.8:
        return f"active {draw.choice(('eq', 'ne', 'gt', 'co'))} {draw.choice(('true', 'false', 'null'))}"
    if kind < 0.9:
        return draw.choice(
            ("emails pr", "name pr", "active pr", "title eq null", "nickName ne null", "emails.primary eq true")
        )
    return draw.choice(
        ('unknown eq "x"', "unknown pr", 'emails eq "x@contoso.com"', 'name eq "x"', 'title eq ""', 'userName eq "')
    )


def expression(draw: random.Random, depth: int = 2) -> str:
    if depth == 0 or draw.random() < 0.4:
        return term(draw)
    left, right = expression(draw, depth - 1), expression(draw, depth - 1)
    form = draw.choice(("{} and {}", "{} or {}", "not ({})", "({}) and ({})", "({} or {}) and {}"))
    return form.format(left, right, term(draw))


PATHS = ("title", "nickName", "displayName", "active", "name", "name.givenName", "name.familyName", "emails",
         "phoneNumbers", 'emails[type eq "work"]', 'emails[type eq "work"].value', 'emails[type eq "home"].primary',
         'phoneNumbers[type eq "pager"].value', "emails.value", f"{ENTERPRISE_USER_URN}:department", "userName", "id",
         "unknown", 'emails[value co "contoso"]', ENTERPRISE_USER_URN)  # fmt: skip


def value(draw: random.Random, path: str) -> Any:
    last = path.rpartition(".")[2] if "contoso" not in path else path
    if path == ENTERPRISE_USER_URN:
        return {"department": draw.choice(WORDS)}
    if path == "active" or last == "primary":
        return draw.choice((True, False))
    if path == "name":
        return {draw.choice(("givenName", "familyName")): draw.choice(WORDS)}
    if path in ("emails", "phoneNumbers"):
        return [element(draw, path, kind) for kind in draw.sample(["work", "home", "pager"], draw.randint(1, 2))]
    if path.startswith("emails["):
        return "new@contoso.com" if path.endswith(".value") else {"value": "new@contoso.com", "display": "new"}
    return "new@contoso.com" if path == "emails.value" else draw.choice(WORDS)


def operation(draw: random.Random) -> Case:
    op = draw.choice(("add", "replace", "remove", "Add", "Replace"))
    if op != "remove" and draw.random() < 0.2:
        paths = [path for path in PATHS if "[" not in path]
        return {"op": op, "value": {path: value(draw, path) for path in draw.sample(paths, 2)}}
    path = draw.choice(PATHS)
    if op == "remove":
        return {"op": op, "path": path} | ({"value": value(draw, path)} if draw.random() < 0.1 else {})
    return {"op": op, "path": path, "value": draw.choice((value(draw, path), value(draw, path), None, ""))}


def ours(case: Case) -> Any:
    try:
        if "filter" in case:
            return compile_filter(parse_filter(case["filter"]), USER)(case["document"])
        return apply(parse_operations({"Operations": case["operations"]}), case["document"], USER)
    except ScimError as error:
        return {"error": error.scim_type}


def theirs(cases: list[Case], python: Path) -> list[Any]:
    command = [python, Path(__file__).parent / "scim2_models_run.py"]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    return answers


def kind(answer: Any) -> str:
    """Return "refused" or "done" of a PATCH, and what a filter says."""
    refused = isinstance(answer, dict) and "error" in answer
    return "refused" if refused else "done" if isinstance(answer, dict) else str(answer)


def is_empty(value: Any) -> bool:
    return value in (None, "")


def says(case: Case, pattern: str) -> bool:
    return re.search(pattern, case.get("filter", ""), re.IGNORECASE) is not None


def some(case: Case, test: Callable[[Case], bool]) -> bool:
    return any(test(item) for item in case.get("operations", ()))


def without_hollow(value: Any) -> Any:
    """Return a document without empty texts, values of a type that hold nothing else, and names of extensions."""
    if isinstance(value, list):
        items = [without_hollow(item) for item in value]
        return [item for item in items if not (isinstance(item, dict) and item.keys() <= {"type", "primary"})]
    if isinstance(value, dict):
        inner = {name: without_hollow(item) for name, item in value.items() if name != "schemas"}
        return {name: item for name, item in inner.items() if item not in ("", [], {})}
    return value


def once(value: Any) -> Any:
    """Return a document in which e-mails and phone numbers of one value and type stand once."""
    found = dict(without_hollow(value))
    for name in ("emails", "phoneNumbers"):
        firsts: Case = {}
        for item in found.get(name, ()):
            firsts.setdefault((item.get("value"), item.get("type")), item)
        if firsts:
            found[name] = [item | {"primary": item.get("primary", False)} for item in firsts.values()]
    return found


def differ_in_emails(our: Any, their: Any) -> bool:
    rests = [{n: v for n, v in without_hollow(answer).items() if n != "emails"} for answer in (our, their)]
    return rests[0] == rests[1]


def stays_active_or_not(case: Case, our: Any, their: Any) -> bool:
    """Tell whether answers differ in `active`, which the case takes away, and in nothing else without a reason."""
    operations = case.get("operations", ())
    taking = [o for o in operations if o.get("path") == "active" and (o["op"] == "remove" or is_empty(o["value"]))]
    if not taking or kind(our) != "done" or kind(their) != "done" or our.get("active") == their.get("active"):
        return False
    rests = [{name: item for name, item in answer.items() if name != "active"} for answer in (our, their)]
    others = [differs for differs in REASONS.values() if differs is not stays_active_or_not]
    return rests[0] == rests[1] or any(differs(case, *rests) for differs in others)


REASONS: dict[str, Differs] = {
    "null and a removal leave active as it is here: only a Boolean says whether somebody may come in.": (
        stays_active_or_not
    ),
    "They refuse a literal that is no e-mail address; ours compares any text, as RFC 7643 has e-mails as strings.": (
        lambda case, our, their: kind(their) == "refused" and says(case, r"emails( |\.value |\[.*value )")
    ),
    "name has no default sub-attribute: ours says so, theirs finds nothing.": (
        lambda case, our, their: kind(our) == "refused" and says(case, r"\bname eq")
    ),
    "Ours folds ß and ss alike, which lower case does not.": (
        lambda case, our, their: says(case, "stra(ß|ss)e") and {kind(our), kind(their)} == {"True", "False"}
    ),
    "Entra clears with an empty text or null whatever it names; theirs refuses that for what is no simple value.": (
        lambda case, our, their: kind(our) == "done" and kind(their) == "refused"
        and some(case, lambda o: "path" in o and o["op"] != "remove" and is_empty(o["value"]))
    ),
    "A read-only attribute in an object of values is ignored here, as in a PUT; theirs refuses it.": (
        lambda case, our, their: kind(our) == "done" and their == {"error": "mutability"}
        and some(case, lambda o: "path" not in o and "id" in o["value"])
    ),
    "An empty userName is refused here as a missing one.": (
        lambda case, our, their: our == {"error": "invalidValue"}
        and some(case, lambda o: o.get("path") == "userName" and is_empty(o.get("value")))
    ),
    "A value beside the remove of one value is ignored here; theirs takes it as a filter.": (
        lambda case, our, their: kind(their) == "refused" and some(case, lambda o: o["op"] == "remove" and "value" in o)
    ),
    "Both refuse, theirs for another of the operations: it reads all before it applies the first.": (
        lambda case, our, their: kind(our) == kind(their) == "refused" and len(case["operations"]) > 1
    ),
    "An empty text is no value here (RFC 7643 section 2.5), nor is an e-mail of a type and nothing else.": (
        lambda case, our, their: kind(our) == kind(their) == "done" and without_hollow(their) == without_hollow(our)
    ),
    "A sub-attribute of a list without values is a first value here, as Entra wants of one behind a filter.": (
        lambda case, our, their: kind(our) == kind(their) == "done" and differ_in_emails(our, their)
        and some(case, lambda o: "emails.value" in (o.get("path"), *(() if "path" in o else o["value"])))
    ),
    "Replacing a value behind a filter replaces the whole of it (RFC 7644 section 3.5.2.3); theirs keeps its type.": (
        lambda case, our, their: kind(our) == kind(their) == "done" and differ_in_emails(our, their)
        and some(case, lambda o: o["op"] in ("replace", "Replace") and o.get("path", "").endswith("]"))
    ),
    "An e-mail of the same value and type is the same one here (RFC 7643 section 2.4), primary or not.": (
        lambda case, our, their: kind(our) == kind(their) == "done" and once(our) == once(their)
        and some(case, lambda o: o["op"] in ("add", "Add"))
    ),
}  # fmt: skip


def drawn() -> list[Case]:
    draw = random.Random(9865)
    cases: list[Case] = [{"document": document(draw), "filter": expression(draw)} for _ in range(FILTERS)]
    for _ in range(PATCHES):
        operations = [operation(draw) for _ in range(draw.randint(1, 3))]
        cases.append({"document": document(draw), "operations": operations})
    return cases


def test_every_difference_has_a_reason_and_every_reason_a_difference(suites_python: Path) -> None:
    cases = drawn()
    unexplained = []
    used: collections.Counter[str] = collections.Counter()
    for case, their in zip(cases, theirs(cases, suites_python), strict=True):
        our = ours(case)
        if our == their:
            used["none"] += 1
            continue
        reasons = [reason for reason, differs in REASONS.items() if differs(case, our, their)]
        used.update(reasons)
        if not reasons:
            unexplained.append({**case, "ours": our, "theirs": their})
    assert unexplained[:3] == []
    assert set(used) == {"none", *REASONS}
    assert used["none"] > 0.7 * len(cases)
