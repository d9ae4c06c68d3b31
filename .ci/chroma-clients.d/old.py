"""Chroma's Python client 0.6, which reads no collections of Chroma 1.5 but by their ids."""

import uuid

import chromadb
from chromadb.api.configuration import CollectionConfigurationInternal
from chromadb.api.models.Collection import Collection as Model
from chromadb.config import Settings
from chromadb.types import Collection

from transcript import host, port, show, step

client = chromadb.HttpClient(host=host, port=port, settings=Settings(allow_reset=True, anonymized_telemetry=False))
step("version", client.get_version)
step("reset", client.reset)
step("limit", client.get_max_batch_size)
for name in ["docs", "docs", "ab"]:
    step(f"create {name}", client.create_collection, name, embedding_function=None)
step("get unknown", client.get_collection, "unknown")
step("delete unknown", client.delete_collection, "unknown")
step("count collections", client.count_collections)
server = client._server
answer = server._session.get(f"{server._api_url}/tenants/default_tenant/databases/default_database/collections/docs").json()
model = Collection(id=uuid.UUID(answer["id"]), name="docs", configuration=CollectionConfigurationInternal(), metadata=None, dimension=None, tenant="default_tenant", database="default_database", version=0)
docs = Model(client=server, model=model, embedding_function=None)
step("add", docs.add, ids=["a", "b", "c"], embeddings=[[0, 1, 0.5], [1, 1, 0.5], [2, 1, 0.5]], documents=["The cat", "a dog", ""], metadatas=[{"n": 1}, {"n": 2.5, "t": True}, {"s": "ü"}])
step("add other dimension", docs.add, ids=["z"], embeddings=[[1, 2]])
step("upsert", docs.upsert, ids=["a", "d"], embeddings=[[0, 1, 0.5], [3, 1, 0.5]], documents=["upserted", "new"])
step("update", docs.update, ids=["b"], metadatas=[{"n": 3}])
step("count", docs.count)
step("get", docs.get)
step("get all", docs.get, ids=["d", "a"], include=["documents", "metadatas", "embeddings", "uris"])
step("where", docs.get, where={"$or": [{"n": {"$gte": 3}}, {"s": "ü"}]}, where_document={"$not_contains": "cat"})
step("wrong where", docs.get, where={"n": {"$in": []}})
step("page", docs.get, limit=2, offset=1, include=[])
step("peek", docs.peek, limit=1)
step("query", docs.query, query_embeddings=[[0.25, 1, 0.5]], n_results=3)
step("query where", docs.query, query_embeddings=[[0.25, 1, 0.5], [3, 1, 0.5]], n_results=9, where={"n": {"$gt": 0}}, include=["distances"])
step("modify", docs.modify, metadata={"k": 1})
step("delete", docs.delete, ids=["a"])
step("delete where", docs.delete, where={"n": 3})
step("left", docs.get, include=[])
step("delete collection", client.delete_collection, "docs")
step("deleted", docs.count)
show("end", True)
