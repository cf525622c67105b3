"""What the stack costs a month, from a table of prices and what a site is like.

    uv run python -m tests.pages.costs [--prices FILE] [STUDIES_A_DAY ...]

Each line is a formula; what is counted of the stack itself - functions a study passes, state
transitions, alarms, keys, endpoints - is read from the shipped machines and template.
"""

import argparse
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.pages.blocks import table
from tests.pages.machines import machine, template
from tests.pages.reference import emf_metrics, node_emf_metrics

PRICES: Final = Path(__file__).parent / "prices.toml"
DAILY: Final = (100, 1_000, 10_000)
_MACHINES: Final = ("import", "prefetch", "assignment")


@dataclass(frozen=True)
class Site:
    """The prices, what a site is like, and how many studies come in a day."""

    given: Mapping[str, Any]
    studies_a_day: int

    def usd(self, name: str) -> float:
        """A price."""
        return float(self.given["price"][name]["usd"])

    def is_(self, name: str) -> float:
        """What the site is like."""
        return float(self.given["site"][name])

    @property
    def studies(self) -> float:
        """Studies a month."""
        return self.studies_a_day * self.is_("days_a_month")

    @property
    def warmed_gb(self) -> float:
        """GB that one study and its priors are."""
        return self.is_("study_gb") + self.is_("priors_a_study") * self.is_("prior_gb")

    @property
    def month_gb(self) -> float:
        """GB that are warmed in a month."""
        return self.studies * self.warmed_gb

    @property
    def frames(self) -> float:
        """Frames that are warmed in a month."""
        return self.month_gb * 1000 / self.is_("frame_mb")

    @property
    def nodes(self) -> int:
        """Nodes that hold what comes in the days that it should stay."""
        held_gb = self.studies_a_day * self.is_("kept_days") * self.warmed_gb
        return max(1, math.ceil(held_gb / self.is_("node_gb")))


def of_type(kind: str) -> int:
    """How many resources of a type the template makes."""
    return sum(one["Type"] == kind for one in template()["Resources"].values())


def transitions() -> int:
    """State transitions of one study: every state of the three machines once, and their starts."""
    return sum(_states(machine(name)["States"]) + 1 for name in _MACHINES)


def invocations() -> int:
    """Functions that one study passes: every task of the machines that is a function."""
    return sum(_functions(machine(name)["States"]) for name in _MACHINES)


def _endpoints() -> int:
    found = 0
    for one in template()["Resources"].values():
        if one["Type"] == "AWS::EC2::VPCEndpoint":
            subnets = one["Properties"].get("SubnetIds", ())
            found += 0 if _is_optional(one) else len(subnets)
    return found


LINES: Final[Mapping[str, tuple[str, Callable[[Site], float]]]] = {
    "functions": (
        "studies x functions of a study x (invocation + seconds x GB x GB-second)",
        lambda site: site.studies * invocations()
        * (site.usd("lambda_request")
           + site.is_("lambda_s") * site.is_("lambda_gb") * site.usd("lambda_gb_second")),
    ),
    "state machines": (
        "studies x transitions of a study x transition",
        lambda site: site.studies * transitions() * site.usd("state_transition"),
    ),
    "events, queues": (
        "studies x (3 events + 6 SQS requests), and each node's polling every 20 s",
        lambda site: site.studies * (3 * site.usd("custom_event") + 6 * site.usd("sqs_request"))
        + site.nodes * site.is_("hours_a_month") * 180 * site.usd("sqs_request"),
    ),
    "table": (
        "studies x (60 writes + 30 reads): outcomes, run records in 7 indexes, progress",
        lambda site: site.studies
        * (60 * site.usd("dynamodb_write") + 30 * site.usd("dynamodb_read")),
    ),
    "documents": (
        "studies x (4 PUT + 8 GET)",
        lambda site: site.studies * (4 * site.usd("s3_put") + 8 * site.usd("s3_get")),
    ),
    "HealthImaging: calls": (
        "(frames + studies x (1 + priors) x 4) x API call",
        lambda site: (site.frames + site.studies * (1 + site.is_("priors_a_study")) * 4)
        * site.usd("healthimaging_call"),
    ),
    "HealthImaging: priors move tier": (
        "studies x priors x GB x archived share x difference of the tiers",
        lambda site: site.studies * site.is_("priors_a_study") * site.is_("prior_gb")
        * site.is_("archived_prior_share") * site.usd("healthimaging_tier"),
    ),
    "node": (
        "nodes x hours x instance",
        lambda site: site.nodes * site.is_("hours_a_month") * site.usd("node_hour"),
    ),
    "network in": (
        "nodes x hours x (NAT gateway + endpoints in a zone) + GB warmed x GB through an endpoint",
        lambda site: site.nodes * site.is_("hours_a_month")
        * (site.usd("nat_hour") + _endpoints() * site.usd("endpoint_hour"))
        + site.month_gb * site.usd("endpoint_gb"),
    ),
    "network out": (
        (
            "GB read x (egress + accelerator + load balancer's unit)"
            " + hours x (accelerator + nodes x load balancer)"
        ),
        lambda site: _read_gb(site)
        * (site.usd("egress_gb") + site.usd("accelerator_gb") + site.usd("lcu_hour"))
        + site.is_("hours_a_month")
        * (site.usd("accelerator_hour") + site.nodes * site.usd("load_balancer_hour")),
    ),
    "firewall": (
        "web ACL + 2 rules + frames read x request",
        lambda site: site.usd("firewall_month") + 2 * site.usd("firewall_rule_month")
        + site.frames * site.is_("read_share") * site.is_("reads_of_a_frame")
        * site.usd("firewall_request"),
    ),
    "keys, metrics, logs": (
        "keys + metrics (each node has its own) + alarms + dashboard + studies x KB of logs",
        lambda site: of_type("AWS::KMS::Key") * site.usd("key_month")
        + (len(emf_metrics()) + site.nodes * len(node_emf_metrics())) * site.usd("metric_month")
        + of_type("AWS::CloudWatch::Alarm") * site.usd("alarm_month")
        + site.usd("dashboard_month")
        + site.studies * site.is_("log_kb_a_study") / 1e6 * site.usd("log_gb"),
    ),
}  # fmt: skip


def costs_table(path: Path = PRICES, daily: tuple[int, ...] = DAILY) -> str:
    """A row for each line of the bill, a column for each number of studies a day."""
    given = tomllib.loads(path.read_text())
    sites = [Site(given, number) for number in daily]
    rows = [
        (name, *(_dollars(formula(site)) for site in sites)) for name, (_, formula) in LINES.items()
    ]
    totals = [sum(formula(site) for _, formula in LINES.values()) for site in sites]
    rows.append(("**together**", *(f"**{_dollars(total)}**" for total in totals)))
    each = [total / site.studies for total, site in zip(totals, sites, strict=True)]
    rows.append(("each study", *(f"{usd:.3f}" for usd in each)))
    rows.append(("nodes", *(str(site.nodes) for site in sites)))
    return table(("USD a month", *(f"{number:,} a day" for number in daily)), rows)


def formulas_table() -> str:
    """How each line is computed, and what is counted of the stack itself."""
    counted = (
        ("functions of a study", str(invocations())),
        ("transitions of a study", str(transitions())),
        ("interface endpoints, each in its zones", str(_endpoints())),
        ("alarms", str(of_type("AWS::CloudWatch::Alarm"))),
        ("keys", str(of_type("AWS::KMS::Key"))),
    )
    lines = table(("line", "formula"), ((name, formula) for name, (formula, _) in LINES.items()))
    return f"{lines}\n{table(('counted', 'number'), counted)}"


def prices_table(path: Path = PRICES) -> str:
    """Every price with the page it was read on, or that it is an assumption."""
    given = tomllib.loads(path.read_text())
    rows = [
        (
            f"{one['usd']:.10f}".rstrip("0").rstrip("."),
            one["unit"],
            one.get("source", "**assumed**"),
        )
        for one in given["price"].values()
    ]
    return f"Read on {given['read']}.\n\n{table(('USD', 'for a', 'read on'), rows)}"


def site_table(path: Path = PRICES) -> str:
    """What the site is taken to be like."""
    given = tomllib.loads(path.read_text())
    return table(("of the site", "assumed"), ((k, str(v)) for k, v in given["site"].items()))


def _read_gb(site: Site) -> float:
    return site.month_gb * site.is_("read_share") * site.is_("reads_of_a_frame")


def _dollars(usd: float) -> str:
    return f"{usd:,.0f}" if usd >= 10 else f"{usd:,.2f}"


def _states(states: Mapping[str, Any]) -> int:
    inner = (one["ItemProcessor"]["States"] for one in states.values() if "ItemProcessor" in one)
    return len(states) + sum(map(_states, inner))


def _functions(states: Mapping[str, Any]) -> int:
    tasks = sum("FunctionArn}" in str(one) for one in states.values() if one["Type"] == "Task")
    inner = (one["ItemProcessor"]["States"] for one in states.values() if "ItemProcessor" in one)
    return tasks + sum(map(_functions, inner))


def _is_optional(resource: Mapping[str, Any]) -> bool:
    """A resource that stands only where a parameter is not left at its default."""
    condition = template()["Conditions"].get(resource.get("Condition"), {})
    for part in condition.get("Fn::And", [condition]):
        named, wanted = part.get("Fn::Equals", ({}, None))
        if named and "Ref" in named:
            default = template()["Parameters"][named["Ref"]].get("Default")
            if default != wanted:
                return True
    return False


def main() -> None:
    """Print the table for other prices or other numbers."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("studies_a_day", nargs="*", type=int, default=list(DAILY))
    asked.add_argument("--prices", type=Path, default=PRICES, help="as tests/pages/prices.toml")
    given = asked.parse_args()
    print(costs_table(given.prices, tuple(given.studies_a_day)), end="")


if __name__ == "__main__":
    main()
