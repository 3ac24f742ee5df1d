"""`reference/retrain.md` and its JSON schema: what a specification of a line's retraining may say, and how its nights end."""

from __future__ import annotations

import json

from fabloom.flows.production.decision import MEANINGS
from fabloom.flows.production.spec import Spec

from .markdown import NOTE, cell, code, prose, table
from .tasks import parameter_rows


def retrain_page() -> str:
    """Every field of a specification from its pydantic models, and every outcome."""
    text = f"{NOTE}# Retraining files\n\n{prose(Spec.__doc__, 'Spec')}\n\n"
    text += "`fabloom retrain FILE --write LINE` writes one to begin with. [Production](../production.md) tells how it is used.\n\n"
    text += table(["field", "type", "default", "what it is"], parameter_rows(Spec, "Spec"))
    text += "[retrain.schema.json](retrain.schema.json) is the JSON schema, for an editor that speaks YAML schemas: "
    text += "its first line is `# yaml-language-server: $schema=PATH/retrain.schema.json`.\n\n## Outcomes\n\n"
    codes = {"Failed": "that of the first failure", "Stopped": "130"}
    text += table(["a night ends as", "that means", "exit code"], [[code(n), cell(t), codes.get(n, "0")] for n, t in MEANINGS.items()])
    return text


def schema_text() -> str:
    """The schema as the file that is kept."""
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Spec.model_json_schema()}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
