"""Lambda for state `BeginWarming`."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from teleprefetch import runtime
from teleprefetch.steps import begin_warming


@runtime.logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Start the prefetch of an assignment that was released before."""
    runtime.correlate(event)
    begun = begin_warming.run(event, executions=runtime.executions())
    runtime.logger.info("prefetch after the notice", begun=begun)
    return {"begun": begun}
