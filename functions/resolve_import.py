"""Lambda for state `ResolveImport`."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from teleprefetch import runtime
from teleprefetch.steps import resolve_import


@runtime.logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Resolve one import event."""
    runtime.correlate(event)
    settings = runtime.settings()
    resolution = resolve_import.run(
        event,
        origins=runtime.origins(),
        image_sets=runtime.image_sets(),
        documents=runtime.documents(),
        routing=settings.routing,
        import_locations=settings.import_locations,
        historical_after_days=settings.historical_after_days,
        now=runtime.now(),
    )
    runtime.logger.info(
        "import resolved", import_id=resolution.import_id, studies=resolution.studies
    )
    return resolution.model_dump(mode="json")
