"""Requests as programs without a Chroma client send them: every route, with usual, unusual and wrong bodies and headers."""

import base64
import http.client
import json
import struct

from transcript import host, plain_message, port, without_ids

BASE = "/api/v2/tenants/default_tenant/databases/default_database"


def send(label, method, path, body=None, headers=None, shown=True):
    if body is not None and not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    if headers is None:
        headers = {"Content-Type": "application/json"} if body is not None else {}
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode("utf-8", "replace")
    connection.close()
    try:
        read = json.loads(text)
        if isinstance(read, dict) and "message" in read:
            read["message"] = plain_message(read["message"])
        text = json.dumps(read, sort_keys=True, ensure_ascii=False)
    except ValueError:
        read = text
    if shown:
        print(f"{label}: {answer.status} {answer.getheader('content-type')} {without_ids(text)}", flush=True)
    return read


def encoded(*numbers):
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


send("reset", "POST", "/api/v2/reset")
for path in ["/api/v2/version", "/api/v2/pre-flight-checks", "/api/v2/auth/identity", "/api/v2/healthcheck", "/api/v1/heartbeat", "/api/v1/collections", "/api/v1", "/api/v2/nothing", "/nothing",
             "/api/v2/tenants/default_tenant", "/api/v2/tenants/nobody", BASE, f"{BASE}x", f"{BASE}/collections", f"{BASE}/collections_count", f"{BASE}/collections/none", f"{BASE}x/collections", f"{BASE}x/collections_count",
             f"{BASE}/collections?limit=x", f"{BASE}/collections?limit=-1", f"{BASE}/collections?limit=", f"{BASE}/collections?what=1", f"{BASE}/collections?limit=1&limit=2", f"{BASE}/collections?offset=5",
             f"{BASE}/collections/by-id/none", f"{BASE}/collections/by-id/00000000-0000-0000-0000-000000000000", "/api/v2/tenants/default_tenant/databases", "/api/v2/tenants/nobody/databases"]:
    send(f"GET {path}", "GET", path)
for method, path in [("POST", "/api/v2/heartbeat"), ("DELETE", "/api/v2/reset"), ("PUT", f"{BASE}/collections"), ("GET", "/api/v2/reset"), ("HEAD", "/api/v2/version")]:
    send(f"{method} {path}", method, path)

# Collections
for label, body in {
    "one": {"name": "one"}, "again": {"name": "one"}, "keep": {"name": "one", "get_or_create": True}, "no name": {}, "null name": {"name": None}, "number": {"name": 5}, "list": [], "text": "\"x\"", "null": "null",
    "broken": "{", "empty": "", "two": "{\"name\":\"two\"} x", "unknown field": {"name": "unknown-field", "what": 1}, "get_or_create text": {"name": "goc", "get_or_create": "yes"}, "metadata list": {"name": "mlist", "metadata": []},
    "metadata null": {"name": "mnull", "metadata": None}, "double key": "{\"name\":\"double\",\"name\":\"key\"}", "configuration text": {"name": "ctext", "configuration": "x"}, "configuration unknown": {"name": "cunknown", "configuration": {"what": 1}},
    "space": {"name": "space", "configuration": {"hnsw": {"space": "COSINE"}}}, "ef text": {"name": "eftext", "configuration": {"hnsw": {"ef_search": "5"}}}, "function": {"name": "func", "configuration": {"embedding_function": {"type": "known", "name": "default", "config": {}}}},
    "legacy": {"name": "legacy", "configuration": {"embedding_function": {"type": "legacy"}}}, "odd function": {"name": "oddf", "configuration": {"embedding_function": {"type": "what"}}}, "function null": {"name": "nullf", "configuration": {"embedding_function": None}},
    "custom function": {"name": "custom", "configuration": {"embedding_function": {"type": "known", "name": "mine", "config": {"a": [1, {"b": None}]}}}}, "large number": {"name": "large-number", "metadata": {"a": 2**64}},
}.items():
    answer = send(f"create {label}", "POST", f"{BASE}/collections", body)
for label, headers in {"none": {}, "text": {"Content-Type": "text/plain"}, "charset": {"Content-Type": "application/json; charset=utf-8"}, "capital": {"Content-Type": "APPLICATION/JSON"}, "suffix": {"Content-Type": "application/x+json"},
                       "form": {"Content-Type": "application/x-www-form-urlencoded"}, "accept": {"Content-Type": "application/json", "Accept": "text/html"}}.items():
    send(f"media type {label}", "POST", f"{BASE}/collections", {"name": f"media-{label}"}, headers)
one = send("by name", "GET", f"{BASE}/collections/one")
path = f"{BASE}/collections/{one['id']}"
send("by id", "GET", f"{BASE}/collections/by-id/{one['id']}")
send("id as name", "GET", path)
send("upper id", "GET", f"{path.upper().replace('/API/V2/TENANTS/DEFAULT_TENANT/DATABASES/DEFAULT_DATABASE/COLLECTIONS', BASE + '/collections')}/count")
for part in ["count", "fork_count", "indexing_status"]:
    send(part, "GET", f"{path}/{part}")
    send(f"{part} by name", "GET", f"{BASE}/collections/one/{part}")
send("fork", "POST", f"{path}/fork", {"new_name": "forked"})
send("search", "POST", f"{path}/search", {"searches": []})
for label, body in {"nothing": {}, "name": {"new_name": "first"}, "taken": {"new_name": "unknown-field"}, "back": {"new_name": "one"}, "metadata": {"new_metadata": {"a": 1}}, "null metadata": {"new_metadata": None}, "null value": {"new_metadata": {"a": None}},
                    "empty metadata": {"new_metadata": {}}, "configuration": {"new_configuration": {"hnsw": {"ef_search": 50}}}, "unknown": {"new_configuration": {"hnsw": {"space": "ip"}}}, "empty configuration": {"new_configuration": {}}, "number": {"new_name": 5}}.items():
    if label != "taken":
        send(f"change {label}", "PUT", path, body)
send("after changes", "GET", f"{BASE}/collections/one")
send("change by name", "PUT", f"{BASE}/collections/one", {"new_name": "x"})

# Writes
place = 0
for route in ("add", "upsert", "update"):
    for label, body in {
        "lists": {"ids": ["a", "b"], "embeddings": [[1, 2], [3, 4]], "documents": ["x", None], "metadatas": [{"n": 1}, None]}, "base64": {"ids": ["c", "d"], "embeddings": [encoded(1, -0.0), encoded(0.1, 2)]},
        "mixed": {"ids": ["e", "f"], "embeddings": [[1, 2], encoded(1, 2)]}, "no padding": {"ids": ["g"], "embeddings": [encoded(1, 2).rstrip("=")]}, "extra padding": {"ids": ["g2"], "embeddings": [encoded(1, 2) + "="]},
        "one padding": {"ids": ["g3"], "embeddings": [encoded(1, 2, 3, 4)[:-1]]}, "not base64": {"ids": ["h"], "embeddings": ["%%%%"]}, "space base64": {"ids": ["h2"], "embeddings": [" " + encoded(1, 2)]}, "odd bytes": {"ids": ["i"], "embeddings": [base64.b64encode(b"12345").decode()]}, "empty base64": {"ids": ["j"], "embeddings": [""]},
        "nan base64": {"ids": ["k"], "embeddings": [encoded(float("nan"), 1)]}, "second inf": {"ids": ["k1", "k2"], "embeddings": [[1, 2], encoded(1, float("-inf"))][:1] + [[1, 1e39]]}, "inf base64": {"ids": ["k3", "k4"], "embeddings": [encoded(1, 2), encoded(1, float("-inf"))]},
        "null embeddings": {"ids": ["l"], "embeddings": None}, "null vector": {"ids": ["l"], "embeddings": [None]}, "no embeddings": {"ids": ["l"]}, "no ids": {"embeddings": [[1, 2]]}, "texts": {"ids": ["m"], "embeddings": [["1", "2"]]}, "empty": {"ids": [], "embeddings": []},
        "empty vector": {"ids": ["n"], "embeddings": [[]]}, "short": {"ids": ["n"], "embeddings": [[1]]}, "counts": {"ids": ["n", "o"], "embeddings": [[1, 2]]}, "documents": {"ids": ["n"], "embeddings": [[1, 2]], "documents": ["a", "b"]}, "object": {"ids": ["n"], "embeddings": {"a": 1}},
        "number id": {"ids": [5], "embeddings": [[1, 2]]}, "null id": {"ids": [None], "embeddings": [[1, 2]]}, "empty id": {"ids": [""], "embeddings": [[1, 2]]}, "unknown field": {"ids": ["p"], "embeddings": [[1, 2]], "what": 1}, "uris": {"ids": ["q"], "embeddings": [[1, 2]], "uris": ["u"]},
        "null in metadata": {"ids": ["r"], "embeddings": [[1, 2]], "metadatas": [{"a": None, "b": 1}]}, "object in metadata": {"ids": ["r"], "embeddings": [[1, 2]], "metadatas": [{"b": 1, "a": {"x": 1}}]}, "nested list": {"ids": ["r"], "embeddings": [[1, 2]], "metadatas": [{"a": [[1]]}]},
        "text metadata": {"ids": ["r"], "embeddings": [[1, 2]], "metadatas": ["x"]}, "sparse": {"ids": ["r"], "embeddings": [[1, 2]], "metadatas": [{"s": {"#type": "sparse_vector", "indices": [1], "values": [0.5]}}]}, "lists in metadata": {"ids": ["s"], "embeddings": [[1, 2]], "metadatas": [{"a": [1, 2.5], "b": [], "c": ["x"], "d": [True, False]}]},
        "mixed list": {"ids": ["t"], "embeddings": [[1, 2]], "metadatas": [{"a": [1, "x"]}]}, "large numbers": "{\"ids\": [\"u\"], \"embeddings\": [[7, 2]], \"metadatas\": [{\"a\": 1e308, \"b\": 18446744073709551615, \"c\": -0.0, \"d\": 1E2}]}",
        "empty metadata": {"ids": ["w"], "embeddings": [[1, 2]], "metadatas": [{}]}, "null metadatas": {"ids": ["x"], "embeddings": [[1, 2]], "metadatas": None, "documents": None, "uris": None}, "large vector": {"ids": ["y"], "embeddings": [[1e-50, 3.4028235e38]]}, "int vector": {"ids": ["z"], "embeddings": [[2**63, -(2**31)]]},
        "number document": {"ids": ["aa"], "embeddings": [[1, 2]], "documents": [5]}, "surrogates": "{\"ids\": [\"\\ud83e\\udd80\"], \"embeddings\": [[8, 2]], \"documents\": [\"\\u0000 \\ud83e\\udd80\"]}", "half surrogate": "{\"ids\": [\"\\ud83e\"], \"embeddings\": [[1, 2]]}", "not UTF-8": b'{"ids": ["\xff"], "embeddings": [[1, 2]]}',
        "broken": "{\"ids\": [", "list": [], "order": {"ids": ["dup", "dup"], "embeddings": [[1, 1], [2, 2]], "metadatas": [{"a": 1, "b": 1}, {"a": 2, "c": 2}], "documents": ["first", "second"]}, "dollar": {"ids": ["bb"], "embeddings": [[1, 2]], "metadatas": [{"$a": 1}]},
        "second metadata": {"ids": ["cc", "dd"], "embeddings": [[1, 2], [3, 4]], "metadatas": [{"ok": 1}, {"#a": 1}]},
    }.items():
        if isinstance(body, dict) and body.get("embeddings") == [[1, 2]]:
            # No two records are at the same distance.
            place += 1
            body["embeddings"] = [[1, 2 + place / 8]]
        send(f"{route} {label}", "POST", f"{path}/{route}", body)
    send(f"after {route}", "POST", f"{path}/get", {"include": ["documents", "metadatas", "embeddings", "uris"]})
    send(f"{route} without collection", "POST", f"{BASE}/collections/00000000-0000-0000-0000-000000000000/{route}", {"ids": ["a"], "embeddings": [[1, 2]]})
    send(f"{route} by name", "POST", f"{BASE}/collections/one/{route}", {"ids": ["a"], "embeddings": [[1, 2]]})
    send(f"{route} of another database", "POST", f"{BASE}x/collections/none/{route}", {"ids": ["a"], "embeddings": [[1, 2]]})

# Reads
for label, body in {
    "nothing": {}, "ids": {"ids": ["d", "a", "a"]}, "no ids": {"ids": []}, "null": {"ids": None, "where": None, "where_document": None, "limit": None, "offset": None}, "include null": {"include": None}, "include text": {"include": "documents"}, "include unknown": {"include": ["data"]}, "include capital": {"include": ["Documents"]},
    "include twice": {"include": ["documents", "documents"], "limit": 1}, "distances": {"include": ["distances"], "limit": 1}, "limit text": {"limit": "1"}, "limit float": {"limit": 1.0}, "limit negative": {"limit": -1}, "limit large": {"limit": 2**32}, "limit largest": {"limit": 2**32 - 1, "include": []}, "offset": {"offset": 3, "limit": 2}, "offset null": {"offset": None, "limit": 1},
    "where text": {"where": "x"}, "where list": {"where": []}, "where empty": {"where": {}}, "where null key": {"where": {"a": None}}, "where two": {"where": {"a": 1, "b": 2}}, "where large": "{\"where\": {\"b\": 18446744073709551615}}", "where larger": "{\"where\": {\"b\": 18446744073709551616}}", "where float": "{\"where\": {\"a\": 1e308}}",
    "where in mixed": {"where": {"a": {"$in": [1, 2.5]}}}, "where in null": {"where": {"a": {"$in": [None]}}}, "where in text": {"where": {"a": {"$in": "x"}}}, "document text": {"where_document": "x"}, "document null": {"where_document": {"$contains": None}}, "document in where": {"where": {"#document": {"$regex": "^x"}}},
    "document in where eq": {"where": {"#document": "x"}}, "document in where wrong": {"where": {"#document": {"$contains": 5}}}, "not in": {"where": {"n": {"$nin": [1]}}, "include": []}, "deep": {"where": {"$and": [{"$or": [{"n": 1}, {"a": 2}]}, {"$and": [{"n": {"$ne": 7}}, {"a": {"$lt": 5}}]}]}, "include": []},
    "regex": {"where_document": {"$regex": "[z"}}, "regex repeat": {"where_document": {"$regex": "*"}}, "regex class": {"where_document": {"$regex": "\\p{Foo}"}}, "regex back": {"where_document": {"$regex": "(a)\\1"}}, "unknown field": {"what": 1, "limit": 1},
}.items():
    send(f"get {label}", "POST", f"{path}/get", body)
    if label not in ("ids",):
        send(f"query {label}", "POST", f"{path}/query", {"query_embeddings": [[1, 2]], "n_results": 2, "include": ["distances"], **body} if isinstance(body, dict) else body)
for label, body in {
    "no vectors": {}, "null vectors": {"query_embeddings": None}, "empty": {"query_embeddings": []}, "empty vector": {"query_embeddings": [[]]}, "base64": {"query_embeddings": [encoded(1, 2)]}, "short": {"query_embeddings": [[1]]}, "long": {"query_embeddings": [[1, 2, 3]]}, "flat": {"query_embeddings": [1, 2]}, "text": {"query_embeddings": "x"}, "nulls": {"query_embeddings": [[None, 1]]},
    "zero": {"query_embeddings": [[1, 2]], "n_results": 0}, "negative": {"query_embeddings": [[1, 2]], "n_results": -1}, "float": {"query_embeddings": [[1, 2]], "n_results": 2.5}, "largest": {"query_embeddings": [[1, 2]], "n_results": 2**32 - 1, "include": []}, "beyond": {"query_embeddings": [[1, 2]], "n_results": 2**32}, "null n": {"query_embeddings": [[1, 2]], "n_results": None, "include": []},
    "two": {"query_embeddings": [[1, 2], [50, 50]], "n_results": 1}, "ids": {"query_embeddings": [[1, 2]], "ids": ["b", "c"]}, "no ids": {"query_embeddings": [[1, 2]], "ids": []}, "unknown ids": {"query_embeddings": [[1, 2]], "ids": ["nothing"]}, "one unknown id": {"query_embeddings": [[1, 2]], "ids": ["a", "nothing"]}, "texts": {"query_texts": ["x"]},
}.items():
    send(f"query {label}", "POST", f"{path}/query", body)
for label, body in {
    "nothing": {}, "no ids": {"ids": []}, "null ids": {"ids": None}, "unknown": {"where": {"n": 12345}}, "limit": {"limit": 1}, "limit and ids": {"ids": ["a"], "limit": 1}, "limited": {"where": {"n": {"$ne": 12345}}, "limit": 1}, "limit 0": {"where": {"n": {"$ne": 12345}}, "limit": 0}, "document": {"where_document": {"$contains": "second"}}, "ids and where": {"ids": ["b", "c"], "where": {"n": 9}}, "text": {"ids": "a"}, "empty where": {"where": {}},
    "ids": {"ids": ["b"]},
}.items():
    send(f"delete {label}", "POST", f"{path}/delete", body)
send("left", "POST", f"{path}/get", {"include": []})

# Tenants and databases
for label, body in {"one": {"name": "tenant-http"}, "again": {"name": "tenant-http"}, "none": {}, "number": {"name": 1}}.items():
    send(f"tenant {label}", "POST", "/api/v2/tenants", body)
send("change tenant", "PATCH", "/api/v2/tenants/default_tenant", {})
for label, body in {"one": {"name": "database-http"}, "again": {"name": "database-http"}, "short": {"name": "a"}, "none": {}}.items():
    send(f"database {label}", "POST", "/api/v2/tenants/tenant-http/databases", body)
send("database of nobody", "POST", "/api/v2/tenants/nobody/databases", {"name": "database"})
send("databases", "GET", "/api/v2/tenants/tenant-http/databases")
send("delete database", "DELETE", "/api/v2/tenants/tenant-http/databases/database-http")
send("delete database again", "DELETE", "/api/v2/tenants/tenant-http/databases/database-http")
send("delete collection by id", "DELETE", path)
send("delete collection", "DELETE", f"{BASE}/collections/one")
send("delete collection again", "DELETE", f"{BASE}/collections/one")
send("count after", "GET", f"{path}/count")
