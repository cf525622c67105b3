"""Lambda for state `StartPrefetch`."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from teleprefetch import runtime
from teleprefetch.steps import start_prefetch


@runtime.logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Start the next prefetches of an import."""
    runtime.correlate(event)
    started = start_prefetch.run(
        event, documents=runtime.documents(), executions=runtime.executions()
    )
    runtime.logger.info("prefetches started", started=started.started, already=started.already)
    return started.model_dump(mode="json")
