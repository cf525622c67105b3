"""Lambda for state `RecordOutcome`."""

from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from teleprefetch import runtime
from teleprefetch.steps import record_outcome


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Record the outcome of a prefetch."""
    runtime.correlate(event)
    outcome = record_outcome.run(
        event, desk=runtime.desk(), tasks=runtime.tasks(), now=runtime.now()
    )
    runtime.logger.info("prefetch recorded", prefetch_id=outcome.subject, state=outcome.state)
    runtime.metrics.add_metric("PrefetchesRecorded", MetricUnit.Count, 1)
    return {"subject": outcome.subject, "state": outcome.state}
