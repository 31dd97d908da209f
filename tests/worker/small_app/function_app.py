"""One function of each kind, for the worker's driver."""

import json
import os
from typing import Any

import azure.durable_functions as df
import azure.functions as func

os.environ["AZURE_FUNCTIONS_DURABLE_STRICT_TYPING"] = "1"  # as in the app
app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="things/{id}", methods=["PUT"])
async def put_thing(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    seen = [req.method, req.route_params["id"], req.params["q"], req.headers["X-A"], req.get_json()]
    return func.HttpResponse(json.dumps([*seen, context.function_name]), status_code=201, mimetype="application/json")


@app.route(route="starts")
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    return func.HttpResponse(client.create_http_management_payload("one")["statusQueryGetUri"])


@app.activity_trigger(input_name="page")
async def double(page: dict) -> dict:
    return {"n": 2 * page["n"]}


@app.orchestration_trigger(context_name="context")
def run(context: df.DurableOrchestrationContext) -> Any:
    result = yield context.call_activity("double", context.get_input())
    return result


@app.route(route="broken")
async def broken(req: func.HttpRequest) -> func.HttpResponse:
    raise RuntimeError("broken")
