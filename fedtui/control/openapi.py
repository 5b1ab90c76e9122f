"""The control API described as OpenAPI 3.1, made from the operations themselves."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from fedtui import __version__
from fedtui.control.operations import Operations
from fedtui.view import NodeView

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string"},
        "cause": {"type": "string"},
        "remedy": {"type": "string"},
        "code": {"type": "integer", "description": "The exit code a command ends with."},
    },
}


def describe(operations: Operations) -> dict[str, Any]:
    """The whole API of one node: reading, following, stopping, and each of its operations."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    view = TypeAdapter(NodeView).json_schema(ref_template="#/components/schemas/{model}")
    schemas |= view.pop("$defs", {})
    schemas["NodeView"] = view
    paths: dict[str, Any] = {
        "/v1/view": {"get": _read("Everything the node knows now.", _ref("NodeView"))},
        "/v1/events": {
            "get": _read("Events, one JSON object a line.", {}, "application/x-ndjson")
            | {
                "parameters": [
                    _query("since", "integer", "Events after this number."),
                    _query("follow", "integer", "1: go on until the node ends."),
                ]
            }
        },
        "/v1/openapi.json": {"get": _read("This description.", {"type": "object"})},
        "/v1/stop": {"post": _read("Ends the node politely.", {"type": "object"})},
    }
    for name in operations.names:
        kind = operations.arguments_of(name)
        arguments = TypeAdapter(kind).json_schema(ref_template="#/components/schemas/{model}")
        schemas |= arguments.pop("$defs", {})
        arguments["additionalProperties"] = False
        schemas[kind.__name__] = arguments
        operation = _read((kind.__doc__ or name).partition("\n")[0], {"type": "object"})
        operation["operationId"] = name
        operation["requestBody"] = {
            "required": "required" in arguments,
            "content": {"application/json": {"schema": _ref(kind.__name__)}},
        }
        operation["responses"]["422"] = {
            "description": "It was refused or failed, with what to do.",
            "content": {"application/json": {"schema": _ref("Error")}},
        }
        paths[f"/v1/do/{name}"] = {"post": operation}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fedtui control API",
            "version": __version__,
            "description": "On a Unix socket of the node's own user; see `fedtui locate`.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _read(text: str, schema: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {
        "summary": text,
        "responses": {
            "200": {"description": "Done.", "content": {kind: {"schema": schema}}},
            "400": {
                "description": "The request is malformed.",
                "content": {"application/json": {"schema": _ref("Error")}},
            },
            "403": {
                "description": "The node belongs to another user.",
                "content": {"application/json": {"schema": _ref("Error")}},
            },
            "503": {
                "description": "Too many requests at once.",
                "content": {"application/json": {"schema": _ref("Error")}},
            },
        },
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _query(name: str, kind: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": text, "schema": {"type": kind}}
