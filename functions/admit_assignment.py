"""Lambda for state `AdmitAssignment`."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from teleprefetch import runtime
from teleprefetch.steps import admit_assignment


@runtime.logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Admit an assignment."""
    runtime.correlate(event)
    settings = runtime.settings()
    assignment = admit_assignment.run(
        event,
        assignments=runtime.assignments(),
        runs=runtime.runs(),
        routing=settings.routing,
        gate=settings.gate,
        now=runtime.now(),
    )
    runtime.logger.info("assignment admitted", wait_s=assignment.wait_s)
    return assignment.model_dump(mode="json")
