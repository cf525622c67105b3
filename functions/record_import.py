"""Lambda for state `RecordImport`."""

from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from teleprefetch import runtime
from teleprefetch.steps import record_import


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Record the outcome of an import event."""
    runtime.correlate(event)
    outcome = record_import.run(
        event, outcomes=runtime.outcomes(), runs=runtime.runs(), now=runtime.now()
    )
    runtime.logger.info("import recorded", import_id=outcome.subject, state=outcome.state)
    runtime.metrics.add_metric("ImportsRecorded", MetricUnit.Count, 1)
    return {"subject": outcome.subject, "state": outcome.state}
