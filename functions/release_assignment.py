"""Lambda for state `ReleaseAssignment`, and for the failure of its machine."""

from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from teleprefetch import runtime
from teleprefetch.steps import release_assignment


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Release an assignment."""
    runtime.correlate(event)
    released = release_assignment.run(
        event, desk=runtime.desk(), gate=runtime.settings().gate, now=runtime.now()
    )
    runtime.logger.info("assignment released", published=released.published, reason=released.reason)
    runtime.metrics.add_metric("NoticesPublished", MetricUnit.Count, int(released.published))
    return released.model_dump(mode="json")
