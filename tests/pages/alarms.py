"""The alarms and the dashboard of the template as tables."""

import json
import re
from typing import Any, Final

from tests.pages.blocks import code, table
from tests.pages.machines import template

_SIGNS: Final = {
    "GreaterThanThreshold": "above", "GreaterThanOrEqualToThreshold": "at or above",
    "LessThanThreshold": "below", "LessThanOrEqualToThreshold": "at or below",
}  # fmt: skip


def alarms() -> dict[str, dict[str, Any]]:
    """The properties of each alarm, by its name in the template."""
    return {
        name: one["Properties"]
        for name, one in template()["Resources"].items()
        if one["Type"] == "AWS::CloudWatch::Alarm"
    }


def alarms_table() -> str:
    """A row for each alarm: the metric, when it goes off, and where to read on."""
    rows = []
    for name, given in alarms().items():
        threshold = given["Threshold"]
        limit = threshold if isinstance(threshold, int | float) else code(threshold["Ref"])
        statistic = given.get("Statistic") or given.get("ExtendedStatistic")
        periods = given["EvaluationPeriods"]
        metric = f"{code(given['MetricName'])} of {given['Namespace']}, {statistic}"
        when = f"{_SIGNS[given['ComparisonOperator']]} {limit}, {periods} x {given['Period']} s"
        rows.append((f"[{code(name)}](#{name.lower()})", metric, when))
    return table(("alarm", "metric", "goes off"), rows)


def dashboard_table() -> str:
    """A row for each widget of the dashboard."""
    (body,) = (
        one["Properties"]["DashboardBody"]["Fn::Sub"]
        for one in template()["Resources"].values()
        if one["Type"] == "AWS::CloudWatch::Dashboard"
    )
    widgets = json.loads(body)["widgets"]
    rows = []
    for widget in widgets:
        given = widget["properties"]
        names = [metric[1] for metric in given.get("metrics", ())]
        rows.append((given["title"], ", ".join(code(name) for name in dict.fromkeys(names))))
    return table(("widget", "metrics"), rows)


def sections(page: str) -> list[str]:
    """The alarms that a page has a section of: its headings that are one word of code."""
    return re.findall(r"^### `(\w+Alarm)`$", page, re.MULTILINE)
