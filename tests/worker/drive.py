"""Loads and invokes a function app through Azure's own language worker, in this process: `drive.py FOLDER < calls`.

Runs in the worker's environment (conftest.py makes it), so it imports nothing of ours. Only gRPC is replaced: the
worker builds its messages from the classes it is given, and here each is a plain namespace.
In: a JSON list of {"function", "inputs": {parameter: {"http" | "json" | "string": value}}}.
Out: JSON {"error", "functions": {name: [bindings]}, "results": [{"error", "value"}], "logs": [[level, logger, text]]}.
"""

import asyncio
import json
import logging
import os
import sys
import uuid
from types import SimpleNamespace
from typing import Any


class Message(SimpleNamespace):
    """Any message of the protocol."""

    Failure, Success = "Failure", "Success"


class Data(SimpleNamespace):
    """A TypedData or a ParameterBinding: one of several fields is set."""

    def WhichOneof(self, _: str) -> str | None:  # noqa: N802 - protobuf's name
        return next(iter(vars(self)), None)


class Messages:
    """What the worker takes for the generated protobuf module."""

    BindingInfo = type("BindingInfo", (Message,), {"undefined": None, "in": 0, "out": 1, "inout": 2})
    TypedData = Data

    def __getattr__(self, name: str) -> type[Message]:
        return Message


def to_typed_data(given: dict[str, Any]) -> Data:
    """Return an invocation's input as the host would send it."""
    ((kind, value),) = given.items()
    if kind != "http":
        return Data(**{kind: value})
    body = Data(bytes=value.get("body", "").encode())
    fields = {"url": "http://127.0.0.1/", "headers": {}, "params": {}, "query": {}, **value, "body": body}
    return Data(http=SimpleNamespace(**fields))


def from_typed_data(data: Data | None) -> Any:
    """Return an invocation's outcome as JSON."""
    if data is None:
        return None
    kind = data.WhichOneof("data")
    value = getattr(data, str(kind))
    if kind == "http":
        body = from_typed_data(value.body)
        return {"status": int(value.status_code), "headers": dict(value.headers), "body": body}
    return value.decode() if isinstance(value, bytes) else value


async def load(folder: str) -> tuple[str | None, dict[str, Any]]:
    """Index the app as the worker does at its start. Returns what it refuses and the functions it found, by name."""
    import azure_functions_runtime as worker

    start = SimpleNamespace(capabilities={}, function_app_directory=folder)
    properties = {"host": "127.0.0.1", "protos": Messages()}
    request = SimpleNamespace(request=SimpleNamespace(worker_init_request=start), properties=properties)
    began = await worker.worker_init_request(request)
    if began.result.status != Message.Success:
        return f"{began.result.exception.message}\n{began.result.exception.stack_trace}", {}
    metadata = await worker.functions_metadata_request(request)
    found = {f.name: f for f in metadata.function_metadata_results}
    for function in found.values():
        loading = SimpleNamespace(function_load_request=SimpleNamespace(function_id=function.function_id))
        loaded = await worker.function_load_request(SimpleNamespace(request=loading))
        if loaded.result.status != Message.Success:
            return f"{function.name} does not load", {}
    return None, found


async def invoke(function_id: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Invoke one function as the host would."""
    import azure_functions_runtime as worker

    call = SimpleNamespace(
        invocation_id=str(uuid.uuid4()),
        function_id=function_id,
        input_data=[Parameter(name, to_typed_data(given)) for name, given in inputs.items()],
        trigger_metadata={},
        trace_context=SimpleNamespace(trace_parent="", trace_state="", attributes={}),
        retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
    )
    answer = await worker.invocation_request(SimpleNamespace(request=SimpleNamespace(invocation_request=call)))
    if answer.result.status != Message.Success:
        return {"error": answer.result.exception.message, "value": None}
    return {"error": None, "value": from_typed_data(answer.return_value)}


class Logs(logging.Handler):
    """Keeps the level, the logger and the text of each record."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append((record.levelname, record.name, record.getMessage()))


class Parameter:
    """A ParameterBinding."""

    def __init__(self, name: str, data: Data) -> None:
        self.name = name
        self.data = data

    def WhichOneof(self, _: str) -> str:  # noqa: N802 - protobuf's name
        return "data"


async def drive(folder: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Load the app, invoke what is asked for, and return what came of it."""
    error, found = await load(folder)
    asked = calls if error is None else ()
    results = [await invoke(found[call["function"]].function_id, call["inputs"]) for call in asked]
    functions = {name: [json.loads(b) for b in f.raw_bindings] for name, f in found.items()}
    return {"error": error, "functions": functions, "results": results}


def main() -> None:
    """Answer on standard output, which the app may not write to."""
    folder = os.path.abspath(sys.argv[1])
    sys.path.insert(0, folder)
    os.chdir(folder)
    answer = sys.stdout
    sys.stdout = sys.stderr
    # As the worker does, which hands on to Azure what the root logger is told from INFO on.
    logs = Logs()
    logging.basicConfig(level=logging.INFO, handlers=[logs])
    json.dump({**asyncio.run(drive(folder, json.load(sys.stdin))), "logs": logs.told}, answer)


if __name__ == "__main__":
    main()
