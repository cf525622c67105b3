"""The shipped template, expanded offline to what CloudFormation would be given."""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

CODE: Final = {"Bucket": "local-code", "Key": "empty.zip"}


class Handler(NamedTuple):
    """Where a function's code lies: `attribute` of the module file `path`."""

    path: Path
    attribute: str


class Expanded(NamedTuple):
    """The CloudFormation template, and the handler of each function by its logical id."""

    cloudformation: dict[str, Any]
    handlers: dict[str, Handler]


class _NoManagedPolicies:
    """The transform maps names of AWS-managed policies through this; the template names none."""

    def load(self) -> dict[str, str]:
        return {}


def expand(template: Path) -> Expanded:
    """Expand a SAM template with its state machines inlined.

    The code of functions and layers stays on disk and is loaded from there, so what the
    template is given for it is an empty archive.
    """
    root = template.parent
    document = yaml_parse(template.read_text())
    defaults = document.get("Globals", {}).get("Function", {})
    handlers: dict[str, Handler] = {}
    for logical_id, resource in document["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            folder = root / properties.get("CodeUri", defaults.get("CodeUri", "."))
            module, attribute = properties["Handler"].rsplit(".", 1)
            handlers[logical_id] = Handler(folder / f"{module}.py", attribute)
            properties["CodeUri"] = CODE
        elif resource["Type"] == "AWS::Serverless::LayerVersion":
            properties["ContentUri"] = CODE
        elif resource["Type"] == "AWS::Serverless::StateMachine":
            definition = root / properties.pop("DefinitionUri")
            properties["Definition"] = json.loads(definition.read_text())
    return Expanded(transform(document, {}, _NoManagedPolicies()), handlers)
