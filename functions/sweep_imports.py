"""Lambda for the schedule that looks for lost import events."""

from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from teleprefetch import runtime
from teleprefetch.steps import sweep_imports


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Start the imports that no event told of."""
    runtime.correlate(event)
    swept = sweep_imports.run(
        import_jobs=runtime.import_jobs(),
        changes=runtime.image_set_changes(),
        outcomes=runtime.outcomes(),
        executions=runtime.import_executions(),
        window_hours=runtime.settings().sweep_window_hours,
        now=runtime.now(),
    )
    runtime.logger.info("imports swept", **swept.model_dump())
    found = swept.started + swept.image_sets_started
    runtime.metrics.add_metric("LostImportsFound", MetricUnit.Count, found)
    return swept.model_dump(mode="json")
