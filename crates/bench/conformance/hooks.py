"""Make most generated evaluations name existing objects: no generator guesses a model, a metric and a theme at once."""

import schemathesis

MODEL = "mock"
METRIC = "conformance"
THEME = "conformance"


@schemathesis.hook
def map_body(context, body):
    if not isinstance(body, dict):
        return body
    path = context.operation.path
    # One in four stays unchanged. Hypothesis needs the same result for the same body.
    if len(repr(body)) % 4 == 0:
        return body
    if path.endswith("/models") and isinstance(body.get("provider"), str):
        return {**body, "provider": "openai"}
    if "/evaluate/" in path and isinstance(body.get("model_id"), str) and body.get("evaluation_prompt_ids"):
        return {
            **body,
            "model_id": MODEL,
            "judge_model": MODEL,
            "model_provider": "openai",
            "evaluation_prompt_ids": [METRIC],
            "theme": THEME if path.endswith("/theme") else body.get("theme"),
        }
    return body
