"""Layouts of the files that products export: by which headers each is recognised, and what its other headers hold.

One entry a layout. To add a product, add an entry with the headers as the product writes them, a small export of it to
tests/link_orchestrator/files/exports/, and what is right about it to tests/link_orchestrator/files/test_layouts.py.

A header that an entry does not name is read by the other names of columns (accounts.py, identities.py), where those
know it. Case and `[remarks]` do not matter; by its spaces alone the "User name" of one product differs from the
"username" of another. `source` says where the headers were found, and what of them is unconfirmed: such headers are
translations that nobody has shown us.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from link_orchestrator.files.cells import in_words, plain

SIGN_IN_NAMES: Final = (
    "login loginname user signinname userprincipalname upn benutzername anmeldename nomdutilisateur nombredeusuario "
    "nomeutente ユーザー名"
)
"""Other names of a column of names to sign in with, in files of accounts and of groups, as plain() has them."""
ADDRESSES: Final = (
    "mail emailaddress primaryemail workemail emailadresse adresseemail adressedecourriel correoelectrónico "
    "correoelectronico direccióndecorreoelectrónico メールアドレス"
)
"""Other names of a column of e-mail addresses."""
GROUP_NAMES: Final = "gruppe gruppenname groupe nomdugroupe grupo nombredelgrupo gruppo グループ グループ名"
"""Names of a column of groups in other languages than English, as plain() has them."""
ANY_OTHER: Final = "*"
"""Stands in `active` for every status that is not named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One layout.

    `marks` are lists of headers, each separated by semicolons; a file that has all headers of one of them is of this
    layout. `columns` says what other headers hold: a column, several with spaces between them, "" for what is not read.
    `prefixes` begin headers that are read as what is behind them. `active` has what the words of the status mean.
    `repeats` says that there is a row for every group or membership of a person.
    """

    name: str
    marks: Sequence[str]
    source: str
    columns: Mapping[str, str] = field(default_factory=dict)
    prefixes: Sequence[str] = ()
    active: Mapping[str, bool] = field(default_factory=dict)
    repeats: bool = False

    def column_of(self, word: str) -> str | None:
        """Return what a header holds, as plain() has it; None where the entry does not say."""
        return _words_of(self)[0].get(word)

    def behind_prefix(self, word: str) -> str:
        """Return what is behind a prefix of the layout, and a header without one as it is."""
        found = (word.removeprefix(plain(prefix)) for prefix in self.prefixes if word.startswith(plain(prefix)))
        return next(found, word)

    def is_active(self, status: str) -> bool | None:
        """Return whether a status means that the person may come in; None where the entry does not say."""
        words = _words_of(self)[1]
        return words.get(status.strip().casefold(), words.get(ANY_OTHER))


_WORDS: Final[dict[str, tuple[Mapping[str, str], Mapping[str, bool]]]] = {}


def _words_of(product: Product) -> tuple[Mapping[str, str], Mapping[str, bool]]:
    """Return the headers and the states of a layout as they are compared, worked out once."""
    found = _WORDS.get(product.name)
    if found is None:
        headers = {plain(header): column for header, column in product.columns.items()}
        states = {state.casefold(): answer for state, answer in product.active.items()}
        found = _WORDS[product.name] = headers, states
    return found


def is_bulk(headers: Sequence[str]) -> bool:
    """Tell whether a header is that of a template of a bulk operation, the first line of which is its version."""
    found = recognise(IDENTITIES, headers)
    version = bool(headers) and in_words(headers[0]).startswith("version:v")
    return version or (found is not None and found.name == BULK)


def recognise(products: Iterable[Product], headers: Collection[str]) -> Product | None:
    """Return the first layout whose mark is among some headers, or None."""
    found = {in_words(header) for header in headers}
    for product in products:
        if any(found.issuperset(map(in_words, mark.split(";"))) for mark in product.marks):
            return product
    return None


ACCOUNTS: Final = (
    Product(
        name="Atlassian, managed accounts",
        marks=("Atlassian ID",),
        columns={
            "Atlassian ID": "applicationId",
            "Name": "displayName",
            "E-mail": "email",
            "Email": "email",
            "Status": "active",
            "Verified email": "emailVerified",
        },
        active={"active": True, "deactivated": False, "suspended": False, "inactive": False},
        source="support.atlassian.com/security-and-access-policies/docs/export-accounts-from-domains lists the "
        "columns but the e-mail's, whose header is unconfirmed. 'Verified email' says verified or not.",
    ),
    Product(
        name="Atlassian, users of a site (before September 2021)",
        marks=("username;full_name;email",),
        columns={"username": "userName", "full_name": "displayName", "email": "email", "active": "active"},
        repeats=True,
        source="confluence.atlassian.com/cloud/export-users-833925313.html: a row for every group and user.",
    ),
    Product(
        name="Atlassian, users of a site",
        marks=("User id;User name;email", "User name;email;User status"),
        columns={
            "User id": "applicationId",
            "User name": "displayName",
            "email": "email",
            "User status": "active",
            "Org role": "",
        },
        active={"active": True, "suspended": False, "deactivated": False, "inactive": False},
        repeats=True,
        source="Files in public repositories: User id, User name, email, User status, Added to org, Org role, Last "
        "seen in … ; with 'Group name' a row for every group. "
        "confluence.atlassian.com/cloud/export-users-833925313.html says that headers changed in September "
        "2021.",
    ),
    Product(
        name="Okta, profiles",
        marks=("profile.login",),
        columns={"id": "applicationId", "status": "active"},
        prefixes=("profile.",),
        active={
            "STAGED": False,
            "PROVISIONED": True,
            "ACTIVE": True,
            "RECOVERY": True,
            "PASSWORD_EXPIRED": True,
            "LOCKED_OUT": True,
            "SUSPENDED": False,
            "DEPROVISIONED": False,
        },
        source="developer.okta.com, User object (id, status, profile); as CSV so from okta-cli and Rockstar: "
        "id,status,profile.login,profile.firstName,…",
    ),
    Product(
        name="Okta, report",
        marks=("user.login",),
        columns={"user.id": "applicationId", "user.status": "active", "status": "active"},
        prefixes=("user.",),
        active={
            "STAGED": False,
            "PROVISIONED": True,
            "ACTIVE": True,
            "RECOVERY": True,
            "PASSWORD_EXPIRED": True,
            "PASSWORD_RESET": True,
            "LOCKED_OUT": True,
            "SUSPENDED": False,
            "DEPROVISIONED": False,
            "DEACTIVATED": False,
        },
        source="Unconfirmed: named by administrators; Okta's pages list the report's fields without their headers.",
    ),
    Product(
        name="Okta",
        marks=("login;firstName;lastName;email",),
        columns={"id": "applicationId", "userId": "applicationId", "status": "active", "login": "userName"},
        active={
            "STAGED": False,
            "PROVISIONED": True,
            "ACTIVE": True,
            "RECOVERY": True,
            "PASSWORD_EXPIRED": True,
            "LOCKED_OUT": True,
            "SUSPENDED": False,
            "DEPROVISIONED": False,
        },
        source="Okta's template for users from CSV; the columns id and status are what exports add.",
    ),
    Product(
        name="Google Workspace",
        marks=(
            "First Name;Last Name;Email Address",
            "Vorname;Nachname;E-Mail-Adresse",
            "Prénom;Nom;Adresse e-mail",
            "Prénom;Nom de famille;Adresse e-mail",
            "Nombre;Apellido;Dirección de correo electrónico",
            "Nombre;Apellidos;Dirección de correo electrónico",
            "名;姓;メールアドレス",
        ),
        columns={
            "Email Address": "email",
            "Recovery Email": "",
            "New Primary Email": "",
            "Vorname": "givenName",
            "Nachname": "familyName",
            "E-Mail-Adresse": "email",
            "Sekundäre private E-Mail-Adresse": "otherEmails",
            "Sekundäre geschäftliche E-Mail-Adresse": "otherEmails",
            "Mitarbeiter-ID": "employeeNumber",
            "Abteilung": "department",
            "Kostenstelle": "costCenter",
            "Prénom": "givenName",
            "Nom": "familyName",
            "Nom de famille": "familyName",
            "Adresse e-mail": "email",
            "État": "active",
            "Statut": "active",
            "ID de l'employé": "employeeNumber",
            "Service": "department",
            "Centre de coûts": "costCenter",
            "Nombre": "givenName",
            "Apellido": "familyName",
            "Apellidos": "familyName",
            "Dirección de correo electrónico": "email",
            "Estado": "active",
            "ID de empleado": "employeeNumber",
            "Departamento": "department",
            "Centro de costes": "costCenter",
            "名": "givenName",
            "姓": "familyName",
            "メールアドレス": "email",
            "ステータス": "active",
            "従業員 ID": "employeeNumber",
            "部署": "department",
            "コストセンター": "costCenter",
        },
        active={
            "active": True,
            "suspended": False,
            "archived": False,
            "aktiv": True,
            "gesperrt": False,
            "archiviert": False,
            "actif": True,
            "suspendu": False,
            "archivé": False,
            "activo": True,
            "suspendido": False,
            "archivado": False,
            "有効": True,
            "アクティブ": True,
            "停止中": False,
            "停止": False,
            "アーカイブ済み": False,
        },
        source="Downloads in public repositories, with [Required] and [READ ONLY]. An article of 2024 about the "
        "Japanese console says that headers are English there, too (ximix.niandc.co.jp). The German, French, "
        "Spanish and Japanese headers and states are unconfirmed.",
    ),
    Product(
        name="Google Workspace, Directory API",
        marks=("primaryEmail;suspended",),
        columns={
            "id": "applicationId",
            "primaryEmail": "userName email",
            "suspended": "inactive",
            "aliases": "otherEmails",
            "emails": "",
            "recoveryEmail": "",
            "name.givenName": "givenName",
            "name.familyName": "familyName",
            "name.fullName": "displayName",
        },
        source="developers.google.com/admin-sdk, users.list; GAM writes the same names as CSV.",
    ),
    Product(
        name="Salesforce",
        marks=(
            "Username;FederationIdentifier",
            "Username;ProfileId",
            "Username;IsActive;Alias",
            "Username;Federation ID",
        ),
        columns={
            "Id": "applicationId",
            "User ID": "applicationId",
            "Username": "userName",
            "FederationIdentifier": "nameId",
            "Federation ID": "nameId",
            "SAML Federation ID": "nameId",
            "Name": "displayName",
            "Full Name": "displayName",
            "IsActive": "active",
            "CompanyName": "organization",
            "TimeZoneSidKey": "timezone",
            "LocaleSidKey": "locale",
            "LanguageLocaleKey": "preferredLanguage",
            "CommunityNickname": "nickName",
            "SenderEmail": "",
            "UserType": "",
        },
        source="developer.salesforce.com, User object, as Data Loader exports it. The headers of reports (User ID, "
        "Full Name, Federation ID) are unconfirmed.",
    ),
    Product(
        name="Slack",
        marks=("username;billing-active", "username;userid;fullname"),
        columns={
            "userid": "applicationId",
            "username": "userName",
            "fullname": "displayName",
            "displayname": "nickName",
            "status": "active",
        },
        active={"deactivated": False, "inactive": False, ANY_OTHER: True},
        source="Exports in public repositories: username, email, status, billing-active, has-2fa, has-sso, userid, "
        "fullname, displayname, expiration-timestamp. The status is a role (Member, Admin, Bot, …) or "
        "Deactivated.",
    ),
    Product(
        name="GitHub, consumed licences",
        marks=("github_com_login",),
        columns={
            "github_com_login": "userName",
            "github_com_name": "displayName",
            "github_com_verified_domain_emails": "otherEmails emailVerified",
            "github_com_saml_name_id": "nameId",
        },
        source="docs.github.com, enterprise licences, as CSV and as JSON of the REST API. It has no id of the "
        "account: a login may be changed, so it is not taken for one.",
    ),
    Product(
        name="GitHub, members",
        marks=("login;node_id", "login;saml_name_id", "login;tfa_enabled"),
        columns={
            "id": "applicationId",
            "login": "userName",
            "name": "displayName",
            "saml_name_id": "nameId",
            "verified_emails": "otherEmails emailVerified",
            "verified_domain_emails": "otherEmails emailVerified",
            "type": "",
            "role": "",
        },
        source="docs.github.com, REST API, users (login, id, node_id). The export of an organisation's members has "
        "what the page describes, under headers that are unconfirmed.",
    ),
    Product(
        name="GitLab",
        marks=("id;username;name;state",),
        columns={
            "id": "applicationId",
            "username": "userName",
            "name": "displayName",
            "state": "active",
            "public_email": "",
            "commit_email": "",
        },
        active={
            "active": True,
            "blocked": False,
            "deactivated": False,
            "banned": False,
            "ldap_blocked": False,
            "blocked_pending_approval": False,
        },
        source="docs.gitlab.com, Users API; the seats export has Id, Name, Username, Email, State (gitlab-org/gitlab "
        "issue 362751). confirmed_at proves no address: administrators may skip the confirmation.",
    ),
    Product(
        name="GitLab, memberships",
        marks=("Username;Email;Path;Membership type", "Username;Email;Path;Access level"),
        columns={"Name": "displayName", "Username": "userName", "Type": "", "Role": ""},
        repeats=True,
        source="gitlab-org/gitlab, merge requests 49399 and 170889: a row for every group and project. It has no id.",
    ),
    Product(
        name="AWS IAM Identity Center",
        marks=("UserName;UserId",),
        columns={
            "UserId": "applicationId",
            "UserName": "userName",
            "UserStatus": "active",
            "ExternalIds.Id": "externalId",
        },
        active={"enabled": True, "disabled": False},
        source="docs.aws.amazon.com, identitystore list-users: UserName, UserId, ExternalIds, Name, DisplayName, "
        "Emails, …",
    ),
    Product(
        name="SCIM",
        marks=("schemas;id;userName", "id;userName;meta"),
        columns={"id": "applicationId"},
        source="RFC 7643, section 3.1: id is the service provider's own, and externalId the client's.",
    ),
)
"""Layouts of accounts, the more particular ones first."""

BULK: Final = "Entra, template of a bulk operation"
"""The layout that has no object ids, so that nobody can be linked by it."""
BULK_REMEDY: Final = (
    "The file is a template of a bulk operation in the Entra admin center. It has no object ids, so that nobody can be "
    "linked by it: take Users > Download users there, and send that."
)

IDENTITIES: Final = (
    Product(
        name=BULK,
        marks=("displayName;userPrincipalName;passwordProfile",),
        columns={"accountEnabled": "blocked"},
        source="learn.microsoft.com, users-bulk-add: a header is <name> [property] <Required>. French, Spanish and "
        "Japanese headers were found in public repositories (Obligatoire, Obligatorio, 必須), German ones were "
        "not; the property in brackets is the same in all. [accountEnabled] asks whether to block the "
        "sign-in.",
    ),
    Product(
        name="Microsoft 365 admin centre",
        marks=(
            "User principal name;Object Id;Block credential",
            "User principal name;Display name;Licenses",
            "Benutzerprinzipalname;Anzeigename;Anmeldeinformationen blockieren",
            "Nom d'utilisateur principal;Nom d'affichage;Bloquer les informations d'identification",
            "Nombre principal de usuario;Nombre para mostrar;Bloquear credenciales",
            "ユーザー プリンシパル名;表示名;資格情報のブロック",
        ),
        columns={
            "Block credential": "blocked",
            "First name": "givenName",
            "Last name": "surname",
            "Title": "jobTitle",
            "Benutzerprinzipalname": "userPrincipalName",
            "Objekt-ID": "id",
            "Anzeigename": "displayName",
            "Vorname": "givenName",
            "Nachname": "surname",
            "Titel": "jobTitle",
            "Abteilung": "department",
            "Anmeldeinformationen blockieren": "blocked",
            "Proxyadressen": "proxyAddresses",
            "Nom d'utilisateur principal": "userPrincipalName",
            "ID d'objet": "id",
            "Nom d'affichage": "displayName",
            "Prénom": "givenName",
            "Nom": "surname",
            "Titre": "jobTitle",
            "Service": "department",
            "Bloquer les informations d'identification": "blocked",
            "Adresses proxy": "proxyAddresses",
            "Nombre principal de usuario": "userPrincipalName",
            "Id. de objeto": "id",
            "Nombre para mostrar": "displayName",
            "Nombre": "givenName",
            "Apellidos": "surname",
            "Título": "jobTitle",
            "Departamento": "department",
            "Bloquear credenciales": "blocked",
            "Direcciones proxy": "proxyAddresses",
            "ユーザー プリンシパル名": "userPrincipalName",
            "オブジェクト ID": "id",
            "表示名": "displayName",
            "名": "givenName",
            "姓": "surname",
            "役職": "jobTitle",
            "部署": "department",
            "資格情報のブロック": "blocked",
            "プロキシ アドレス": "proxyAddresses",
        },
        source="Exports in public repositories: Display name, User principal name, Object Id, Block credential, "
        "Proxy addresses (joined by +), … The German name, display name and block were found in a parser of "
        "such files; all other headers in German, French, Spanish and Japanese are unconfirmed.",
    ),
    Product(
        name="Entra, Download users",
        marks=(
            "userPrincipalName;objectId;userType",
            "userPrincipalName;id;userType;directorySynced",
            "userPrincipalName;id;userType;creationType",
        ),
        source="learn.microsoft.com, users-bulk-download, in German and Japanese with the same property names.",
    ),
    Product(
        name="Get-MgUser",
        marks=("Id;UserPrincipalName;AdditionalProperties",),
        source="learn.microsoft.com, Get-MgUser: properties in PascalCase. As CSV a list is the name of its type "
        "(System.String[]), which is read as none.",
    ),
    Product(
        name="Entra's users, in the names of Microsoft Graph",
        marks=("id;userPrincipalName",),
        source="learn.microsoft.com/graph/api/resources/user; as CSV, the headers of an export of a group's members.",
    ),
)
"""Layouts of identities, the more particular ones first."""
