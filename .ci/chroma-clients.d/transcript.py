"""What a program prints about a Chroma server, so that the output of two servers can be compared line by line."""

import json
import re
import sys
from urllib.parse import urlparse

url = sys.argv[1]
parsed = urlparse(url)
host, port = parsed.hostname, parsed.port

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_known = {}


def without_ids(text):
    """`text` with the ids of collections and databases numbered as they appear."""
    return UUID.sub(lambda found: _known.setdefault(found[0], f"<id {len(_known) + 1}>"), text)


def plain(value):
    """`value` of lists, dictionaries, texts and numbers; floats as 32 bits can tell them apart."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(part) for part in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if type(value).__name__ in ("Collection", "AsyncCollection"):
        return {part: plain(getattr(value, part, None)) for part in ("name", "id", "metadata", "tenant", "database")}
    if hasattr(value, "model_dump"):
        return plain(value.model_dump())
    return without_ids(str(value))


def show(label, value):
    print(f"{label}: {without_ids(json.dumps(plain(value), ensure_ascii=False, sort_keys=True))}", flush=True)


def show_error(label, error):
    print(f"{label}: {type(error).__name__}: {plain_message(str(error))!r}", flush=True)


def plain_message(message):
    """An error's message without what may differ: ids of requests, and how a program in Rust names its types."""
    message = re.sub(r"127\.0\.0\.1:\d+", "SERVER", re.sub(r" \(trace ID: [0-9a-f-]+\)", "", message))
    message = re.sub(r"(Failed to (?:deserialize|parse) [^:]*): .*", r"\1", message)
    # The client lists a set.
    message = re.sub(r"Exactly one of [a-z, ]* must", "Exactly one of … must", message)
    return without_ids(message)


def step(label, operation, *arguments, **named):
    """Prints what `operation` answers or raises, and returns the answer."""
    try:
        answer = operation(*arguments, **named)
    except Exception as error:  # noqa: BLE001: the exception is the answer
        show_error(label, error)
        return None
    show(label, answer)
    return answer
