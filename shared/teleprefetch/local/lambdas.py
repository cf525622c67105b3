"""The shipped handlers, invoked in this process with Lambda's own contract for errors."""

import importlib.util
import json
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from teleprefetch.local.template import Handler

LambdaHandler = Callable[[dict[str, Any], "Context"], Any]


class Context:
    """What a handler is told of its invocation."""

    def __init__(self, function_name: str, function_arn: str, timeout_s: float) -> None:
        self.function_name = function_name
        self.function_version = "$LATEST"
        self.invoked_function_arn = function_arn
        self.memory_limit_in_mb = "512"
        self.aws_request_id = str(uuid.uuid4())
        self.log_group_name = f"/aws/lambda/{function_name}"
        self.log_stream_name = "local"
        self._ends = time.monotonic() + timeout_s

    def get_remaining_time_in_millis(self) -> int:
        """How long the invocation may still take."""
        return max(0, int((self._ends - time.monotonic()) * 1000))


class Lambdas:
    """The handlers by function name.

    Unlike Lambda, one module serves many invocations at once, and a handler that overran its
    time goes on in its thread.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, LambdaHandler] = {}

    def load(self, handlers: Mapping[str, Handler]) -> None:
        """Load each function's module under a name of its own."""
        for function_name, handler in handlers.items():
            module = _load(handler)
            self._handlers[function_name] = getattr(module, handler.attribute)

    def replace(self, function_name: str, handler: LambdaHandler) -> LambdaHandler:
        """Put another handler in a function's place; the one that was there."""
        before = self._handlers[function_name]
        self._handlers[function_name] = handler
        return before

    @property
    def names(self) -> tuple[str, ...]:
        """The functions that are loaded."""
        return tuple(self._handlers)

    def invoke(
        self, context: Context, payload: str | bytes | None, response_headers: dict[str, str]
    ) -> bytes:
        """Run a handler; an error is told as the Lambda runtime tells it.

        The answer to a failed invocation is `errorMessage`, `errorType` and `stackTrace`, with
        `X-Amz-Function-Error: Unhandled` (Lambda developer guide, "Handle function errors").
        """
        answer: dict[str, Any] = {}
        thread = threading.Thread(target=self._run, args=(context, payload, answer), daemon=True)
        left_s = context.get_remaining_time_in_millis() / 1000
        thread.start()
        thread.join(left_s)
        if thread.is_alive():
            answer = {
                "error": {
                    "errorType": "Sandbox.Timedout",
                    "errorMessage": f"RequestId: {context.aws_request_id} Error: Task timed out",
                }
            }
        if "error" in answer:
            response_headers["x-amz-function-error"] = "Unhandled"
            return json.dumps(answer["error"]).encode()
        return bytes(answer["ok"])

    def _run(self, context: Context, payload: str | bytes | None, answer: dict[str, Any]) -> None:
        try:
            event = json.loads(payload) if payload else {}
            result = self._handlers[context.function_name](event, context)
            answer["ok"] = json.dumps(result).encode()
        except Exception as error:  # noqa: BLE001 - the runtime tells every error to its caller
            answer["error"] = {
                "errorMessage": str(error),
                "errorType": type(error).__name__,
                "requestId": context.aws_request_id,
                "stackTrace": traceback.format_tb(error.__traceback__),
            }


def _load(handler: Handler) -> ModuleType:
    name = f"_teleprefetch_function_{handler.path.stem}"
    spec = importlib.util.spec_from_file_location(name, handler.path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module at {handler.path.name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
