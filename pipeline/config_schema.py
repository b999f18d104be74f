"""The JSON schema of a search file, for editors: the keys of the search beside those of the training."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pipeline.config import SearchConfig
from pipeline.keys import VARIANTS
from search_spaces import known_spaces
from trainers.config import TrainConfig
from trainers.registry import Kind, Params, known

_REF = "#/$defs/{model}"


def schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of a search file.

    A variant is a name, or a mapping with the parameters of one of the shipped variants; a name may be `module:name`.
    Dotted keys, which a search file takes too, are allowed and not checked.
    """
    shipped = {v.load_params() for kind in _KINDS for v in known(kind)}
    models: list[type[BaseModel]] = [SearchConfig, TrainConfig, *shipped]
    ordered = sorted(models, key=lambda model: model.__name__)
    refs, found = models_json_schema([(m, "validation") for m in ordered], by_alias=True, ref_template=_REF)
    definitions: dict[str, Any] = found["$defs"]
    search, train = (definitions.pop(model.__name__)["properties"] for model in (SearchConfig, TrainConfig))
    del search["train"], train["seed"], search["study"]["default"]
    named = {params: str(refs[params, "validation"]["$ref"]) for params in shipped}
    for name, kind in VARIANTS.items():
        train[name] = {"anyOf": [{"type": "string"}, *_variants(kind, named)]}
    detectors = _variants("detector", named)
    train["stability"] = {
        "type": "object",
        "properties": {v.name: d for v, d in zip(known("detector"), detectors, strict=True)},
        "additionalProperties": {"anyOf": detectors},
    }
    search["space"]["examples"] = [space.name for space in known_spaces()]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gansearch search file",
        "type": "object",
        "properties": search | train,
        "patternProperties": {r"^\w+\.": {}},
        "additionalProperties": False,
        "$defs": definitions,
    }


_KINDS: tuple[Kind, ...] = (*VARIANTS.values(), "detector")


def _variants(kind: Kind, named: dict[type[Params], str]) -> list[dict[str, Any]]:
    """Return a schema for the parameters of each variant; models that several share are told apart by the name."""
    return [
        {
            "$ref": named[v.load_params()],
            "title": v.name,
            "description": v.summary,
            "properties": {"name": {"const": v.name}},
        }
        for v in known(kind)
    ]
