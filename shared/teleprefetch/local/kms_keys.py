"""KMS keys of a template: moto makes each a symmetric one, with a policy that it cannot read.

Here a key is of its `KeySpec` and `KeyUsage` (CloudFormation reference, `AWS::KMS::Key`).
"""

import json
from typing import Any
from unittest.mock import patch

from moto.kms.models import Key, kms_backends


def keys_of_templates() -> Any:
    """A patch that is to be entered while the stack is up."""
    return patch.object(Key, "create_from_cloudformation_json", classmethod(_create))


def _create(
    _cls: type[Any],
    /,
    _resource_name: str,
    cloudformation_json: dict[str, Any],
    account_id: str,
    region_name: str,
    **_: object,
) -> Any:
    properties = cloudformation_json["Properties"]
    return kms_backends[account_id][region_name].create_key(
        policy=json.dumps(properties["KeyPolicy"]),
        key_usage=properties.get("KeyUsage", "ENCRYPT_DECRYPT"),
        key_spec=properties.get("KeySpec", "SYMMETRIC_DEFAULT"),
        description=properties.get("Description"),
        tags=properties.get("Tags", []),
    )
