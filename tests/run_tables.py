"""The table of the shipped template, on an emulator."""

from pathlib import Path
from typing import Any

import boto3
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = Path(__file__).resolve().parents[1] / "template.yaml"


def make_table(name: str = "table") -> Any:
    """Make the template's table with its indexes; the client."""
    properties = yaml_parse(TEMPLATE.read_text())["Resources"]["Table"]["Properties"]
    dynamodb = boto3.client("dynamodb")
    dynamodb.create_table(
        TableName=name,
        **{
            key: properties[key]
            for key in (
                "BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes",
            )
        },
    )  # fmt: skip
    return dynamodb
