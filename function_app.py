"""What Azure Functions loads: settings, then tables, then directories, then each room's functions. No logic."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import azure.functions as func

import shared.host.functions
from shared.directory.directory import Directories
from shared.host.expiry import tell_expiring
from shared.host.http import Edge
from shared.host.settings import Settings
from shared.tables.late import LateTables
from shared.tables.port import Tables

if TYPE_CHECKING:
    from link_orchestrator.portal.page import Samples


def build(settings: Settings, tables: Tables, samples: Samples | None = None) -> func.FunctionApp:
    """Return the app with the functions of its roles, over the tables given. Only a laptop's has `samples`."""
    edge = Edge(settings, Directories(tables, buckets=settings.buckets))
    app = _empty()
    app.register_functions(shared.host.functions.blueprint(edge, tables))
    if "scim" in settings.app_roles:
        _add_scim(app, edge)
    if "admin" in settings.app_roles:
        _add_admin(app, edge, samples)
    return app


def build_faulty(fault: str) -> func.FunctionApp:
    """Return the app that a wrong setting leaves: it says what is wrong, and does nothing else."""
    app = _empty()
    app.register_functions(shared.host.functions.blueprint_of_fault(fault))
    return app


def _empty() -> func.FunctionApp:
    return func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


# Each role imports its own rooms: an app that starts imports nothing that it does not serve.
def _add_scim(app: func.FunctionApp, edge: Edge) -> None:
    import scim_groups.service
    import scim_users.service
    import shared.scim_root.functions

    rooms = {"Users": scim_users.service, "Groups": scim_groups.service}
    app.register_functions(shared.scim_root.functions.blueprint(edge, rooms))
    for endpoint, room in rooms.items():
        app.register_functions(shared.scim_root.functions.room_blueprint(edge, endpoint, room))


def _add_admin(app: func.FunctionApp, edge: Edge, samples: Samples | None) -> None:
    import link_orchestrator.functions
    import shared.admin.functions

    app.register_functions(shared.admin.functions.blueprint(edge))
    app.register_functions(link_orchestrator.functions.blueprint(edge, samples))


def open_tables(settings: Settings) -> Tables:
    """Return the tables that the settings name; they are opened by the first call."""

    def connect() -> Tables:
        from shared.tables.azure import AzureTables

        return AzureTables.open(settings.tables, settings.tables_endpoint, settings.client_id)

    return LateTables(connect)


# Otherwise the Durable SDK turns any JSON object with the keys __class__, __module__ and __data__ into an instance of
# the class that it names (azure.functions._durable_functions), also where it came from a customer's file.
os.environ["AZURE_FUNCTIONS_DURABLE_STRICT_TYPING"] = "1"

# The language worker forwards every record from INFO on, and azure-core writes two of these for a storage request.
logging.getLogger("azure").setLevel(logging.WARNING)
# The local host sets none of these: it brings its own tables and calls build().
IN_AZURE = {"FUNCTIONS_WORKER_RUNTIME", "WEBSITE_INSTANCE_ID", "SCIMLINK_TABLES_ENDPOINT", "SCIMLINK_TABLES"}
if os.environ.keys() & IN_AZURE:
    try:
        settings = Settings.from_environment(os.environ)
        settings.check_complete()
    except ValueError as error:
        logging.getLogger("scimlink").error("the app cannot start: %s", error)
        app = build_faulty(str(error))
    else:
        app = build(settings, open_tables(settings))
        tell_expiring(settings.credentials)
