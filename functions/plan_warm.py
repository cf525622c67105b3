"""Lambda for state `PlanWarm`."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from teleprefetch import runtime
from teleprefetch.steps import plan_warm


@runtime.logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Plan the warming and its orders."""
    runtime.correlate(event)
    settings = runtime.settings()
    planned = plan_warm.run(
        event,
        documents=runtime.documents(),
        runs=runtime.runs(),
        lookup_keys=runtime.lookup_keys(),
        nodes=runtime.nodes(),
        routing=settings.routing,
        rules=runtime.rules(),
        gate=settings.gate,
        budget_bytes=settings.budget_bytes,
        give_up_after_s=settings.give_up_after_s,
        reading_days=settings.reading_days,
        now=runtime.now(),
    )
    runtime.logger.info("warming planned", series=planned.series, left_out=planned.left_out)
    return planned.model_dump(mode="json")
