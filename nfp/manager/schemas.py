"""JSON Schemas of the manager's RPC arguments (``contract.md`` section 3)."""

from __future__ import annotations

from nfp.model.schemas import Schema
from nfp.model.services import CREATE_SCHEMA, UPDATE_SCHEMA

_SERVICE_ID = {
    "type": "string",
    "minLength": 1,
    "maxLength": 36,
    "description": "an id of 1 to 36 characters",
}

CREATE: Schema = {
    "type": "object",
    "required": ["network_service"],
    "additionalProperties": False,
    "properties": {"network_service": CREATE_SCHEMA},
}

UPDATE: Schema = {
    "type": "object",
    "required": ["network_service_id", "network_service"],
    "additionalProperties": False,
    "properties": {"network_service_id": _SERVICE_ID, "network_service": UPDATE_SCHEMA},
}

BY_ID: Schema = {
    "type": "object",
    "required": ["network_service_id"],
    "additionalProperties": False,
    "properties": {"network_service_id": _SERVICE_ID},
}

LIST: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "filters": {"type": ["object", "null"]},
        "fields": {"type": ["array", "null"], "items": {"type": "string"}},
        "sort": {"type": ["array", "null"], "items": {"type": "string"}},
        "limit": {"type": ["integer", "null"], "minimum": 1, "description": "a whole number of at least 1"},
        "marker": {"type": ["string", "null"]},
    },
}

REPORT_AGENT: Schema = {
    "type": "object",
    "required": ["agent"],
    "properties": {
        "agent": {
            "type": "object",
            "required": ["host", "boot_id", "configurators"],
            "properties": {
                "host": {"type": "string", "minLength": 1, "maxLength": 255},
                "boot_id": {"type": "string", "minLength": 1, "maxLength": 64},
                "configurators": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string"},
                            "boot_id": {"type": ["string", "null"]},
                            "reachable": {"type": "boolean"},
                        },
                    },
                },
            },
        }
    },
}

PLUMBING: Schema = {
    "type": "object",
    "required": ["request_info"],
    "properties": {
        "request_info": {
            "type": "object",
            "required": ["profile"],
            "properties": {
                "profile": {
                    "type": "object",
                    "required": ["service_type"],
                    "properties": {
                        "service_type": {"type": "string"},
                        "insertion_mode": {"type": ["string", "null"]},
                    },
                }
            },
        }
    },
}
