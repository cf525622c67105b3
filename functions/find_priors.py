"""Lambda for state `FindPriors`."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from teleprefetch import runtime
from teleprefetch.steps import find_priors


@runtime.logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Find the candidates of a study."""
    runtime.correlate(event)
    found = find_priors.run(event, origins=runtime.origins(), documents=runtime.documents())
    runtime.logger.info("candidates found", others=found.others)
    return found.model_dump(mode="json")
