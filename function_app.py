"""What Azure Functions loads: settings, then tables, then directories, then each room's functions. No logic."""

from __future__ import annotations

import logging
import os

import azure.durable_functions as df
import azure.functions as func

import link_orchestrator.functions
import scim_groups.service
import scim_users.service
import shared.admin.functions
import shared.host.functions
import shared.scim_root.functions
from shared.directory.directory import Directories
from shared.host.http import Edge
from shared.host.settings import Settings
from shared.scim_root.rooms import Rooms
from shared.tables.azure import AzureTables
from shared.tables.port import Tables


def build(settings: Settings, tables: Tables) -> df.DFApp:
    """Return the app with all its functions, over the tables given."""
    edge = Edge(settings, Directories(tables, buckets=settings.buckets))
    app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    app.register_functions(shared.host.functions.blueprint(edge, tables))
    rooms: Rooms = {"Users": scim_users.service, "Groups": scim_groups.service}
    app.register_functions(shared.scim_root.functions.blueprint(edge, rooms))
    app.register_functions(shared.admin.functions.blueprint(edge))
    for endpoint, room in rooms.items():
        app.register_functions(shared.scim_root.functions.room_blueprint(edge, endpoint, room))
    app.register_functions(link_orchestrator.functions.blueprint(edge))
    return app


def open_tables(settings: Settings) -> Tables:
    """Return the tables that the settings name; nothing is connected before the first call."""
    if settings.tables:
        return AzureTables.from_connection_string(settings.tables)
    return AzureTables.with_managed_identity(settings.tables_endpoint, settings.client_id or None)


# Otherwise the Durable SDK turns any JSON object with the keys __class__, __module__ and __data__ into an instance of
# the class that it names (azure.functions._durable_functions), also where it came from a customer's file.
os.environ["AZURE_FUNCTIONS_DURABLE_STRICT_TYPING"] = "1"

# The language worker forwards every record from INFO on, and azure-core writes two of these for a storage request.
logging.getLogger("azure").setLevel(logging.WARNING)
settings = Settings.from_environment(os.environ)
if settings.tables or settings.tables_endpoint:
    app = build(settings, open_tables(settings))
elif "FUNCTIONS_WORKER_RUNTIME" in os.environ:
    # Azure names its worker; the local host does not, it brings its own tables and calls build().
    logging.getLogger("scimlink").warning("SCIMLINK_TABLES_ENDPOINT is not set: no function is registered")
