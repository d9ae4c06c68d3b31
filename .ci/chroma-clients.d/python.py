"""Every method of Chroma's Python client with usual and unusual arguments. Runs with the clients 0.6, 1.0 and 1.5."""

import chromadb
import numpy
from chromadb.config import Settings

from transcript import host, port, show, step

VERSION = tuple(int(part) for part in chromadb.__version__.split(".")[:2])
settings = Settings(allow_reset=True, anonymized_telemetry=False)
client = chromadb.HttpClient(host=host, port=port, settings=settings)
show("version", client.get_version())
show("beats", client.heartbeat() > 0)
step("reset", client.reset)
show("batches", client.get_max_batch_size())
step("user", client.get_user_identity)
step("settings", lambda: client.get_settings().chroma_server_host is not None)

# Collections
for name in ["docs", "ab", "a" * 513, "a..b", "1.2.3.4", "ü-name", "with space", "-x-", "A.b_c-9", "a/b", "..."]:
    step(f"create {name[:12]}", client.create_collection, name, embedding_function=None)
step("create again", client.create_collection, "docs")
step("get_or_create again", client.get_or_create_collection, "docs", metadata={"new": 1})
step("get unknown", client.get_collection, "unknown")
step("delete unknown", client.delete_collection, "unknown")
for label, metadata in {
    "types": {"int": 1, "float": 1.5, "whole": 2.0, "text": "ü", "yes": True}, "empty": {}, "null": {"a": None},
    "nested": {"a": {"b": 1}}, "list": {"a": [1, 2]}, "space": {"hnsw:space": "cosine"}, "wrong space": {"hnsw:space": "euclid"},
    "all hnsw": {"hnsw:space": "ip", "hnsw:construction_ef": 50, "hnsw:search_ef": 20, "hnsw:M": 8, "hnsw:num_threads": 1,
                 "hnsw:resize_factor": 1.5, "hnsw:batch_size": 10, "hnsw:sync_threshold": 20},
    "unknown hnsw": {"hnsw:what": 1}, "text hnsw": {"hnsw:M": "8"}, "chroma": {"chroma:document": "x"}, "description": {"description": "d" * 5000},
}.items():
    if label == "list":
        continue  # Chroma drops the connection.
    made = step(f"metadata {label}", client.create_collection, "meta-" + label.replace(" ", "-"), metadata=metadata, embedding_function=None)
    if made is not None and VERSION >= (1, 0):
        show(f"configuration {label}", made.configuration_json)
if VERSION >= (1, 0):
    for label, configuration in {
        "cosine": {"hnsw": {"space": "cosine"}}, "ef": {"hnsw": {"ef_search": 7, "ef_construction": 9, "max_neighbors": 5}},
        "empty": {}, "unknown": {"hnsw": {"what": 1}}, "wrong": {"hnsw": {"space": "manhattan"}}, "spann": {"spann": {"space": "ip"}},
        "both": {"hnsw": {"space": "l2"}, "spann": {"space": "ip"}}, "null": {"hnsw": None}, "zero": {"hnsw": {"ef_search": 0}},
        "negative": {"hnsw": {"ef_search": -1}}, "resize": {"hnsw": {"resize_factor": 2.5, "sync_threshold": 2000, "batch_size": 1}},
    }.items():
        made = step(f"configured {label}", client.create_collection, f"configured-{label}", configuration=configuration, embedding_function=None)
        if made is not None:
            show(f"configuration of {label}", made.configuration_json)
            for change in [{"hnsw": {"ef_search": 33}}, {"hnsw": {"space": "ip"}}, {"spann": {"search_nprobe": 3}}, {}]:
                step(f"modify configuration of {label} {change}", made.modify, configuration=change)
                show("now", client.get_collection(f"configured-{label}", embedding_function=None).configuration_json)
    try:
        client.create_collection("mixed", configuration={"hnsw": {"space": "cosine"}}, metadata={"hnsw:space": "ip"}, embedding_function=None)
        show("configuration beats metadata", client.get_collection("mixed").configuration_json["hnsw"]["space"])
    except Exception as error:
        show("mixed", type(error).__name__)
step("count collections", client.count_collections)
for page in [{}, {"limit": 3}, {"limit": 2, "offset": 1}, {"offset": 5}, {"limit": 0}, {"offset": 1000}, {"limit": 1000}, {"limit": -1}]:
    step(f"list {page}", lambda: len(client.list_collections(**page)))

# Changes of collections
docs = client.get_collection("docs", embedding_function=None)
step("modify name", docs.modify, name="renamed")
step("modify to bad name", docs.modify, name="a")
step("modify metadata", docs.modify, metadata={"k": "v"})
step("modify nothing", docs.modify)
step("modify hnsw", docs.modify, metadata={"hnsw:space": "ip"})
step("modify other hnsw", docs.modify, metadata={"hnsw:M": 3})
step("modify empty", docs.modify, metadata={})
step("renamed", client.get_collection, "renamed", embedding_function=None)
step("old name", client.get_collection, "docs")
docs.modify(name="docs")

# Writes
ones = lambda n: [[float(i), 1.0, 0.5] for i in range(n)]
step("add", docs.add, ids=["a", "b", "c"], embeddings=ones(3), documents=["The cat", "a DOG", ""], metadatas=[{"n": 1, "s": "x"}, {"n": 2.5, "t": True}, {"n": 3, "s": "ü"}])
step("add known", docs.add, ids=["a", "d"], embeddings=[[9, 9, 9], [3, 1, 0.5]], documents=["new", "日本語 text"])
step("add doubles", docs.add, ids=["e", "e"], embeddings=ones(2))
step("add single", docs.add, ids="f", embeddings=[5.0, 1.0, 0.5], documents="alone", metadatas={"n": 7})
step("add numpy", docs.add, ids=["g", "h"], embeddings=numpy.array([[6, 1, .5], [7, 1, .5]], dtype=numpy.float32))
step("add float64", docs.add, ids=["i"], embeddings=numpy.array([[1 / 3, 1e-40, 1e30]]))
step("add list of arrays", docs.add, ids=["j"], embeddings=[numpy.array([8, 1, .5])])
step("add ints", docs.add, ids=["k"], embeddings=[[9, 1, 0]])
step("add int32", docs.add, ids=["k2"], embeddings=numpy.array([[9, 1, 1]], dtype=numpy.int32))
step("add uris", docs.add, ids=["l"], embeddings=[[10, 1, .5]], uris=["file:///x"])
step("add unicode", docs.add, ids=["日本-é-🦀", " ", "a b", "x" * 3000, "q'\"\\"], embeddings=[[11, 1, i] for i in range(5)])
for label, arguments in {
    "no vectors": {"ids": ["z"]}, "other dimension": {"ids": ["z"], "embeddings": [[1, 2]]}, "uneven": {"ids": ["z", "y"], "embeddings": [[1, 2, 3]]},
    "empty lists": {"ids": [], "embeddings": []}, "empty id": {"ids": [""], "embeddings": [[1, 2, 3]]}, "number id": {"ids": [1], "embeddings": [[1, 2, 3]]},
    "empty vector": {"ids": ["z"], "embeddings": [[]]}, "nan": {"ids": ["z"], "embeddings": [[float("nan"), 1, 2]]}, "inf": {"ids": ["z"], "embeddings": [[float("inf"), 1, 2]]},
    "huge": {"ids": ["z"], "embeddings": [[1e39, 1, 2]]}, "text vector": {"ids": ["z"], "embeddings": ["abc"]},
    "null metadata": {"ids": ["z"], "embeddings": [[1, 2, 3]], "metadatas": [None]}, "empty metadata": {"ids": ["z1"], "embeddings": [[1, 2, 3]], "metadatas": [{}]},
    "null value": {"ids": ["z2"], "embeddings": [[1, 2, 3]], "metadatas": [{"a": None}]}, "nested": {"ids": ["z3"], "embeddings": [[1, 2, 3]], "metadatas": [{"a": {"b": 1}}]},
    "lists": {"ids": ["z4"], "embeddings": [[1, 2, 3]], "metadatas": [{"a": [1, 2], "b": ["x", "y", "x"], "c": [1.5, 2], "d": [True]}]},
    "mixed list": {"ids": ["z5"], "embeddings": [[1, 2, 3]], "metadatas": [{"a": [1, "x"]}]}, "empty list": {"ids": ["z6"], "embeddings": [[1, 2, 3]], "metadatas": [{"a": []}]},
    "dollar key": {"ids": ["z7"], "embeddings": [[1, 2, 3]], "metadatas": [{"$a": 1}]}, "hash key": {"ids": ["z8"], "embeddings": [[1, 2, 3]], "metadatas": [{"#a": 1}]},
    "empty key": {"ids": ["z9"], "embeddings": [[1, 2, 3]], "metadatas": [{"": 1}]}, "chroma key": {"ids": ["z10"], "embeddings": [[1, 2, 3]], "metadatas": [{"chroma:x": 1, "y": 2}]},
    "large ints": {"ids": ["z11"], "embeddings": [[1, 2, 3]], "metadatas": [{"a": 2**53 + 1, "b": -(2**63), "c": 2**63 - 1}]},
    "beyond ints": {"ids": ["z12"], "embeddings": [[1, 2, 3]], "metadatas": [{"a": 2**64}]}, "null document": {"ids": ["z13"], "embeddings": [[1, 2, 3]], "documents": [None]},
    "number document": {"ids": ["z14"], "embeddings": [[1, 2, 3]], "documents": [5]}, "nul": {"ids": ["nul\0id"], "embeddings": [[1, 2, 3]], "documents": ["a\0b"], "metadatas": [{"k\0": "v\0"}]},
    "only uri": {"ids": ["z15"], "uris": ["file:///y"]}, "numpy number": {"ids": ["z16"], "embeddings": [[1, 2, 3]], "metadatas": [{"a": numpy.int64(5)}]},
}.items():
    step(f"add {label}", docs.add, **arguments)
step("count", docs.count)
for method in ("update", "upsert"):
    change = getattr(docs, method)
    step(f"{method} document", change, ids=["a"], embeddings=[[0, 1, .5]], documents=[f"{method}d"])
    step(f"{method} metadata", change, ids=["b"], embeddings=[[1, 1, .5]], metadatas=[{"n": None, "new": method}])
    step(f"{method} all null", change, ids=["b"], embeddings=[[1, 1, .5]], metadatas=[{"t": None, "new": None}])
    step(f"{method} doubles", change, ids=["c", "c"], embeddings=ones(2), metadatas=[{"x": 1}, {"y": 2}])
    step(f"{method} unknown", change, ids=[f"unknown-{method}"], embeddings=[[2, 2, 2]], documents=["u"])
    step(f"{method} dimension", change, ids=["a"], embeddings=[[1, 2]])
    step(f"{method} nothing", change, ids=["a"])
    step(f"{method} empty", change, ids=[])
    step(f"{method} uris", change, ids=["d"], embeddings=[[3, 1, .5]], uris=["u://" + method])
    step(f"{method} list", change, ids=["d"], embeddings=[[3, 1, .5]], metadatas=[{"l": [3, 1, 2], "m": []}])
    step(f"{method} after", docs.get, ids=["a", "b", "c", "d", f"unknown-{method}"], include=["documents", "metadatas", "embeddings", "uris"])
step("update metadata only", docs.update, ids=["a", "c"], metadatas=[{"only": 1}, {"only": 2}])
step("update document only", docs.update, ids="f", documents="still alone")

# Reads
step("get all", docs.get)
step("peek", docs.peek)
step("peek 2", docs.peek, limit=2)
step("peek 0", docs.peek, limit=0)
step("ids", docs.get, ids=["c", "a", "c", "none"])
step("id", docs.get, ids="a")
for include in [[], ["documents"], ["embeddings"], ["metadatas", "uris"], ["distances"], ["data"], ["what"], ["documents", "documents"], ["uris", "embeddings", "metadatas", "documents"]]:
    step(f"get include {include}", docs.get, ids=["a", "l"], include=include)
    step(f"query include {include}", docs.query, query_embeddings=[[0, 1, .5]], n_results=2, include=include)
for page in [{"limit": 2}, {"limit": 2, "offset": 3}, {"offset": 25}, {"limit": 0}, {"limit": 10**9}, {"limit": -1}, {"offset": -1}, {"offset": 10**6}, {"limit": 2**32}, {"limit": 1.5}]:
    step(f"get page {page}", docs.get, include=[], **page)
conditions = [
    {}, {"n": 1}, {"n": 1.0}, {"n": {"$eq": 2.5}}, {"n": {"$ne": 1}}, {"n": {"$gt": 1}}, {"n": {"$gte": 2.5}}, {"n": {"$lt": 3}}, {"n": {"$lte": 3}}, {"n": {"$gt": "1"}},
    {"n": {"$in": [1, 3]}}, {"n": {"$nin": [1, 3]}}, {"n": {"$in": []}}, {"n": {"$in": [1, "x"]}}, {"s": {"$in": ["x", "ü"]}}, {"s": "ü"}, {"t": True}, {"t": 1}, {"t": {"$ne": True}},
    {"$and": [{"n": {"$gt": 0}}, {"s": "x"}]}, {"$or": [{"n": 1}, {"n": 3}]}, {"$and": [{"n": 1}]}, {"$and": []}, {"$or": []}, {"$not": [{"n": 1}]}, {"n": 1, "s": "x"},
    {"$and": [{"$or": [{"n": 1}, {"only": 2}]}, {"$or": [{"x": 1}, {"s": "x"}]}]}, {"n": {"$gt": 0, "$lt": 3}}, {"n": {"$what": 1}}, {"n": None}, {"n": [1]}, {"n": {}},
    {"a": {"$contains": 1}}, {"b": {"$contains": "x"}}, {"b": {"$not_contains": "x"}}, {"c": {"$contains": 1.5}}, {"d": {"$contains": True}}, {"s": {"$contains": "x"}}, {"l": {"$contains": 3}},
    {"#document": {"$contains": "cat"}}, {"none": "x"}, {"none": {"$ne": "x"}}, {"chroma:document": "The cat"}, {"n": {"$in": [True]}}, {"big": 2**63}, {"a": 2**53 + 1}, {"": 1}, "n", [],
]
for where in conditions:
    step(f"get where {where}", docs.get, where=where, include=["metadatas"])
    step(f"query where {where}", docs.query, query_embeddings=[[0, 1, .5]], n_results=50, where=where, include=["distances"])
for where in [
    {}, {"$contains": "cat"}, {"$contains": "CAT"}, {"$contains": ""}, {"$contains": "本"}, {"$not_contains": "a"}, {"$regex": "^[a-z]+d$"}, {"$regex": "(?i)CAT|dog"}, {"$not_regex": "d"}, {"$regex": "("},
    {"$regex": "(?=x)"}, {"$regex": ""}, {"$and": [{"$contains": "u"}, {"$contains": "d"}]}, {"$or": [{"$contains": "cat"}, {"$contains": "DOG"}]}, {"$and": []}, {"$contains": 5}, {"$what": "x"},
    {"$contains": "a", "$regex": "b"}, {"$and": [{"$or": [{"$contains": "a"}, {"$regex": "u"}]}, {"$not_contains": "DOG"}]}, {"$contains": "%"}, {"$contains": "_"}, {"$contains": ["a"]},
]:
    step(f"get document {where}", docs.get, where_document=where, include=["documents"])
    step(f"query document {where}", docs.query, query_embeddings=[[0, 1, .5]], n_results=50, where_document=where, include=["documents"])
step("both", docs.get, where={"n": {"$gte": 1}}, where_document={"$not_contains": "cat"}, ids=["a", "b", "c", "f"], limit=2, offset=1)
near = [0.25, 1, .5]
for label, arguments in {
    "one": {"query_embeddings": near, "n_results": 3}, "two": {"query_embeddings": [near, [7.9, 1, .5]], "n_results": 2}, "numpy": {"query_embeddings": numpy.array([near]), "n_results": 1},
    "all": {"query_embeddings": [near], "n_results": 1000}, "none": {"query_embeddings": [near], "n_results": 0}, "negative": {"query_embeddings": [near], "n_results": -1},
    "default": {"query_embeddings": [near]}, "empty": {"query_embeddings": []}, "no vectors": {"n_results": 2}, "other dimension": {"query_embeddings": [[1, 2]]},
    "ids": {"query_embeddings": [near], "ids": ["c", "a"], "n_results": 5}, "no ids": {"query_embeddings": [near], "ids": [], "n_results": 5}, "unknown ids": {"query_embeddings": [near], "ids": ["a", "none"], "n_results": 5},
    "unknown ids and where": {"query_embeddings": [near], "ids": ["a", "none"], "where": {"only": 1}}, "nan": {"query_embeddings": [[float("nan"), 1, 2]]}, "uris": {"query_uris": ["x"]},
    "huge k": {"query_embeddings": [near], "n_results": 2**31}, "beyond k": {"query_embeddings": [near], "n_results": 2**33}, "ids and where": {"query_embeddings": [near], "ids": ["a", "b", "c"], "where": {"n": {"$gt": 0}}},
}.items():
    if label == "unknown ids" and VERSION < (1, 0):
        continue
    step(f"query {label}", docs.query, **arguments)

# Spaces
for space in ("l2", "cosine", "ip"):
    made = client.create_collection(f"space-{space}", metadata={"hnsw:space": space}, embedding_function=None)
    made.add(ids=["a", "b", "c", "zero"], embeddings=[[1, 0], [0, 2], [-3, 0], [0, 0]])
    step(f"query {space}", made.query, query_embeddings=[[1, .25]], n_results=3, include=["distances"])
    step(f"query all {space}", made.query, query_embeddings=[[2, 1]], n_results=9, include=["distances"])

# Deletes
step("delete ids", docs.delete, ids=["a"])
step("delete id", docs.delete, ids="b")
step("delete where", docs.delete, where={"n": 3})
step("delete document", docs.delete, where_document={"$contains": "alone"})
step("delete ids and where", docs.delete, ids=["c", "d"], where={"only": 9})
step("delete nothing", docs.delete)
step("delete no ids", docs.delete, ids=[])
step("delete empty where", docs.delete, where={})
step("delete bad where", docs.delete, where={"n": {"$what": 1}})
if VERSION >= (1, 5):
    step("delete limit", docs.delete, where={"a": {"$ne": 5}}, limit=2)
    step("delete limit alone", docs.delete, limit=2)
    step("delete limit 0", docs.delete, where={"a": {"$ne": 5}}, limit=0)
step("left", docs.get, include=[])
docs.delete(ids=docs.get(include=[])["ids"])
step("empty query", docs.query, query_embeddings=[near])
step("empty get", docs.get)
step("empty peek", docs.peek)
step("dimension stays", docs.add, ids=["x"], embeddings=[[1.0, 2.0]])
for label, method in {"count": "count", "get": "get", "peek": "peek"}.items():
    gone = client.create_collection("gone", embedding_function=None)
    client.delete_collection("gone")
    step(f"{label} of a deleted collection", getattr(gone, method))
step("add to a deleted collection", gone.add, ids=["x"], embeddings=[[1.0]])
step("modify a deleted collection", gone.modify, name="back")
if VERSION >= (1, 5):
    step("fork", docs.fork, "forked")
    step("indexing status", docs.get_indexing_status)

# Tenants and databases
admin = chromadb.AdminClient(Settings(chroma_api_impl="chromadb.api.fastapi.FastAPI", chroma_server_host=host, chroma_server_http_port=port, anonymized_telemetry=False))
for name in ["tenant-one", "tenant-one", "ü tenant"]:
    step(f"create tenant {name}", admin.create_tenant, name)
step("get tenant", admin.get_tenant, "tenant-one")
step("get unknown tenant", admin.get_tenant, "nobody")
for name, tenant in [("first", "tenant-one"), ("first", "tenant-one"), ("ab", "tenant-one"), ("other", "nobody"), ("second", "tenant-one"), ("first", "default_tenant"), ("a b", "tenant-one")]:
    step(f"create database {name} of {tenant}", admin.create_database, name, tenant)
step("get database", admin.get_database, "first", "tenant-one")
step("get unknown database", admin.get_database, "nothing", "tenant-one")
if VERSION >= (1, 0):
    for page in [{}, {"limit": 1}, {"offset": 1}, {"limit": 0}]:
        step(f"list databases {page}", admin.list_databases, tenant="tenant-one", **page)
    step("list databases of unknown", admin.list_databases, tenant="nobody")
other = chromadb.HttpClient(host=host, port=port, tenant="tenant-one", database="first", settings=Settings(allow_reset=True, anonymized_telemetry=False))
step("collection elsewhere", other.create_collection, "docs", embedding_function=None)
step("collections elsewhere", lambda: [getattr(one, "name", one) for one in other.list_collections()])
step("move to database", other.set_database, "second")
step("collection of the first", other.get_collection, "docs")
step("move to unknown database", other.set_database, "nothing")
step("move to unknown tenant", other.set_tenant, "nobody")
for tenant, database in [("nobody", "default_database"), ("default_tenant", "nothing")]:
    step(f"client of {tenant} {database}", lambda: bool(chromadb.HttpClient(host=host, port=port, tenant=tenant, database=database)))
if VERSION >= (1, 0):
    step("delete database", admin.delete_database, "first", "tenant-one")
    step("delete database again", admin.delete_database, "first", "tenant-one")
step("last reset", client.reset)
step("nothing left", lambda: list(client.list_collections()))
