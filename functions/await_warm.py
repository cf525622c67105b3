"""Lambda for state `AwaitWarm`; the task is answered later, by its token."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from teleprefetch import runtime
from teleprefetch.steps import await_warm


@runtime.logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Start the prefetch that answers the task token."""
    runtime.correlate(event)
    begun = await_warm.run(event, executions=runtime.executions())
    runtime.logger.info("prefetch of an assignment", begun=begun)
    return {"begun": begun}
