"""What the names of the API are called on pages: attributes, match rules, jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

ATTRIBUTES: Final[Mapping[str, str]] = {
    "userName": "Sign-in name",
    "displayName": "Display name",
    "name": "Name",
    "name.formatted": "Whole name",
    "name.givenName": "First name",
    "name.familyName": "Last name",
    "title": "Job title",
    "active": "Active",
    "externalId": "Object ID in Entra",
    "emails": "E-mail addresses",
    "emails[work]": "E-mail address",
    "email": "E-mail address",
    "emailVerified": "Whether it verified the address",
    "otherEmails": "Further e-mail addresses",
    "phoneNumbers": "Telephone numbers",
    "addresses": "Addresses",
    "enterprise.employeeNumber": "Employee number",
    "enterprise.department": "Department",
    "applicationId": "Key of the application",
    "formerUserNames": "Sign-in names before",
    "evidence": "Past sign-ins",
    "evidence.nameId": "NameID of a past sign-in",
    "evidence.objectId": "Object ID of a past sign-in",
    "evidence.verifiedEmails": "Addresses that the application verified",
    "protected": "Protected",
    "status": "Who manages it",
    "link": "Link",
    "parted": "Whom it was taken apart from",
    "retired": "Deleted by Entra",
}
"""What attributes of accounts are called, whole and their parts; others by their names."""
RULES: Final[Mapping[str, str]] = {
    "externalId": "External id",
    "signInObjectId": "Object ID of a past sign-in",
    "nameId": "NameID of a past sign-in",
    "userName": "Sign-in name",
    "verifiedEmail": "Verified e-mail address",
    "mail": "E-mail address that nobody verified",
    "email": "Any e-mail address",
    "employeeNumber": "Employee number",
    "mailNickname": "Mail nickname",
    "onPremisesSamAccountName": "Name in Active Directory",
    "transformedName": "Sign-in name, transformed",
    "transformedMail": "E-mail address, transformed",
}
"""What each match rule is called."""
COMPARED: Final[Mapping[str, str]] = {
    "id": "Object ID",
    "objectId": "Object ID of a past sign-in",
    "userPrincipalName": "User principal name",
    "formerUserPrincipalName": "Former user principal name",
    "mail": "Mail",
    "otherMails": "Further addresses",
    "proxyAddresses": "Aliases",
    "employeeId": "Employee number",
    "onPremisesSamAccountName": "Name in Active Directory",
    "onPremisesImmutableId": "Immutable id of Active Directory",
    "userName": "Sign-in name",
    "emails": "E-mail address",
    "verifiedEmails": "Verified e-mail address",
    "externalId": "External id",
    "nameId": "NameID of a past sign-in",
}
"""What the attributes are called that a rule compares, of accounts and of people in Entra; others by their names."""
JOBS: Final[Mapping[str, str]] = {
    "run": "Run",
    "undo": "Undo",
    "verification": "Verification",
    "import": "Import",
    "importundo": "Undo of an import",
    "importundopreview": "Preview of an undo",
    "preview": "Preview",
    "groupimport": "Import of groups",
    "groupimportundo": "Undo of an import of groups",
    "groupimportundopreview": "Preview of an undo of groups",
    "grouppreview": "Preview of groups",
    "identities": "Upload of identities",
    "entragroups": "Upload of groups",
}
"""What a job of each kind is called, by the kind's name, with which its id begins."""
_WITHIN: Final[Mapping[str, str]] = {
    **{name: label for name, label in COMPARED.items() if name != "emails"},
    **RULES,
    "userNames": "Sign-in names",
    "proxyAddresses": "Proxy addresses",
    "applicationId": "Key of the application",
    "givenName": "First name",
    "familyName": "Last name",
    "objectId": "Object ID",
    "displayName": "Display name",
    "setAside": "Accounts set aside",
    "verifiedDomains": "Verified domains",
    "trustEmails": "Which addresses count",
}
"""What a name of the API is called within a sentence."""
_JOB: Final = re.compile(r"([a-z]+)20\d{12}")


def label_of(name: str) -> str:
    """Return what an attribute or a column of a file is called; of an extension by the name behind its URN."""
    short = name.rpartition(":")[2]
    for above in ("", "enterprise.", "evidence.", "name."):
        if known := ATTRIBUTES.get(f"{above}{short}"):
            return known
    whole, marked, mark = short.partition("[")
    if marked:
        return f"{label_of(whole)} ({mark.replace(']', '')})"
    return in_words(short.rpartition(".")[2])


def rule_in_words(name: str) -> str:
    """Return what a match rule is called."""
    return RULES.get(name, name)


def compared_in_words(name: str) -> str:
    """Return what an attribute is called that a rule compares; of an extension's by what stands behind its URN."""
    short = name.rpartition(":")[2]
    return COMPARED.get(short) or in_words(short)


def within(name: str) -> str:
    """Return what a name of the API is called within a sentence, "" for one that a person has to read as it is."""
    label = _WITHIN.get(name, "")
    return label if label.startswith("NameID") else label[:1].lower() + label[1:]


def job_in_words(job_id: str) -> str:
    """Return what a job is called, by its id."""
    found = _JOB.match(job_id)
    return JOBS.get(found[1], "Job") if found else "Job"


def in_words(name: str) -> str:
    """Return a name of the API, like `outsideVerifiedDomains`, as words."""
    spaced = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return spaced[:1].upper() + spaced[1:]
