"""Lambda aliases made by CloudFormation, which moto leaves out.

A moto resource is registered by being defined, so importing this module is all it takes.
"""

from typing import Any

from moto.awslambda.models import LambdaAlias, LambdaVersion
from moto.awslambda.utils import get_backend
from moto.core.common_models import CloudFormationModel


class Alias(CloudFormationModel):
    """An AWS::Lambda::Alias; `Ref` is its ARN, as in CloudFormation."""

    def __init__(self, alias: LambdaAlias) -> None:
        self._alias = alias

    @property
    def physical_resource_id(self) -> str:
        """The ARN of the alias, which is the function's with the name as its qualifier."""
        return str(self._alias.arn)

    @staticmethod
    def cloudformation_name_type() -> str:
        """No name that moto should make up: an alias' name is given."""
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        """The type in templates."""
        return "AWS::Lambda::Alias"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,  # noqa: ARG003 - moto's signature
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> "Alias":
        """Create it beside its function."""
        given = cloudformation_json["Properties"]
        functions = get_backend(account_id, region_name)
        alias = functions.create_alias(
            given["Name"], given["FunctionName"], str(given["FunctionVersion"]), "", ""
        )
        return cls(alias)


def version_attribute(version: LambdaVersion, name: str) -> str:
    """What `Fn::GetAtt` gives of an AWS::Lambda::Version.

    Raises:
        KeyError: it is not `Version`.
    """
    return {"Version": str(version.version)}[name]
