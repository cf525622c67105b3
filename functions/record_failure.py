"""Lambda for the failure of an `import` or `prefetch` execution."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from teleprefetch import runtime
from teleprefetch.steps import record_failure


@runtime.logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Record a machine's own failure."""
    runtime.correlate(event)
    outcome = record_failure.run(
        event,
        outcomes=runtime.outcomes(),
        runs=runtime.runs(),
        tasks=runtime.tasks(),
        now=runtime.now(),
    )
    runtime.logger.warning("execution failed", subject=outcome.subject, cause=outcome.cause)
    return {"subject": outcome.subject, "state": outcome.state}
