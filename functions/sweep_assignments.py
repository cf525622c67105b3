"""Lambda for the schedule that releases what is past its deadline."""

from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from teleprefetch import runtime
from teleprefetch.steps import sweep_assignments


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Release the assignments that still wait after their deadline."""
    runtime.correlate(event)
    swept = sweep_assignments.run(
        desk=runtime.desk(),
        gate=runtime.settings().gate,
        histories=runtime.histories(),
        now=runtime.now(),
    )
    runtime.logger.info("assignments swept", overdue=swept.overdue, published=swept.published)
    runtime.metrics.add_metric("LateNoticesReleased", MetricUnit.Count, swept.published)
    return swept.model_dump(mode="json")
