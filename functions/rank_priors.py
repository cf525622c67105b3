"""Lambda for state `RankPriors`."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from teleprefetch import runtime
from teleprefetch.steps import rank_priors


@runtime.logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Rank the candidates."""
    runtime.correlate(event)
    ranked = rank_priors.run(
        event, documents=runtime.documents(), rules=runtime.rules(), now=runtime.now()
    )
    runtime.logger.info("priors ranked", priors=ranked.priors)
    return ranked.model_dump(mode="json")
