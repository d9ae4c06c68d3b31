"""LangChain, LlamaIndex, and the calls of Open WebUI, mem0 and of programs like them."""

import chromadb
from chromadb.config import Settings
from chromadb.utils.batch_utils import create_batches
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition, FilterOperator, MetadataFilter, MetadataFilters, VectorStoreQuery, VectorStoreQueryMode,
)
from llama_index.vector_stores.chroma import ChromaVectorStore

from transcript import host, port, show, step


class Letters(Embeddings):
    """Counts of some letters, so that both servers are asked the same."""

    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text):
        return [text.lower().count(letter) + 0.125 for letter in "aeiost"]


def client():
    return chromadb.HttpClient(host=host, port=port, settings=Settings(allow_reset=True, anonymized_telemetry=False))


client().reset()

# LangChain
store = Chroma(collection_name="articles", embedding_function=Letters(), host=host, port=port, collection_metadata={"hnsw:space": "cosine"})
shown = lambda documents: [[one.id, one.page_content, one.metadata] for one in documents]
scored = lambda pairs: [[one.id, one.page_content, score] for one, score in pairs]
texts = ["Cats eat mice", "Dogs eat bones", "PostgreSQL stores tables", "Vectors are stored too", "an odd üñí text"]
step("langchain add", store.add_texts, texts, metadatas=[{"n": i, "kind": "pet" if i < 2 else "base"} for i in range(5)], ids=[f"t{i}" for i in range(5)])
step("langchain documents", store.add_documents, [Document("more about cats", metadata={"kind": "pet"}), Document("bare")], ids=["d1", "d2"])
step("langchain search", lambda: shown(store.similarity_search("cats", k=3)))
step("langchain filter", lambda: shown(store.similarity_search("cats", k=3, filter={"kind": "base"})))
step("langchain filters", lambda: shown(store.similarity_search("cats", k=9, filter={"$and": [{"n": {"$gte": 1}}, {"kind": {"$ne": "pet"}}]})))
step("langchain document filter", lambda: shown(store.similarity_search("cats", k=9, where_document={"$contains": "eat"})))
step("langchain score", lambda: scored(store.similarity_search_with_score("stored vectors", k=4)))
step("langchain relevance", lambda: scored(store.similarity_search_with_relevance_scores("stored vectors", k=2)))
step("langchain vector", lambda: shown(store.similarity_search_by_vector([1.0, 2, 3, 4, 5, 6], k=2)))
step("langchain vectors", lambda: [[one.page_content, [float(x) for x in vector]] for one, vector in store.similarity_search_with_vectors("cats", k=2)])
step("langchain mmr", lambda: shown(store.max_marginal_relevance_search("cats", k=3, fetch_k=5)))
step("langchain retriever", lambda: shown(store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "fetch_k": 4}).invoke("bones")))
step("langchain get", lambda: store.get(ids=["t1", "d1"], include=["documents", "metadatas", "embeddings"]))
step("langchain get where", lambda: store.get(where={"kind": "pet"}, limit=2, offset=1))
step("langchain get by ids", lambda: shown(store.get_by_ids(["t0", "t4"])))
step("langchain update", lambda: store.update_document("t0", Document("Cats sleep", metadata={"n": 9})))
step("langchain updated", lambda: store.get(ids=["t0"]))
step("langchain delete", lambda: store.delete(ids=["t1"]))
step("langchain delete where", lambda: store.delete(where={"kind": "base"}))
step("langchain left", lambda: sorted(store.get()["ids"]))
step("langchain fork", lambda: store.fork("fork"))
step("langchain reset", lambda: store.reset_collection())
step("langchain empty", lambda: store.similarity_search("cats"))
step("langchain from texts", lambda: scored(Chroma.from_texts(texts, Letters(), ids=list("abcde"), collection_name="made", client=client()).similarity_search_with_score("mice", k=2)))
step("langchain delete collection", lambda: Chroma(collection_name="made", client=client()).delete_collection())
step("langchain unknown", lambda: Chroma(collection_name="unknown", client=client(), create_collection_if_not_exists=False).get())

# LlamaIndex
collection = client().get_or_create_collection("nodes", embedding_function=None)
index = ChromaVectorStore(chroma_collection=collection)
nodes = [TextNode(id_=f"n{i}", text=text, embedding=Letters().embed_query(text), metadata={"n": i, "kind": "pet" if i < 2 else "base", "file_name": f"{i}.md"},
                  relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"doc{i % 2}")}) for i, text in enumerate(texts)]
found = lambda answer: [answer.ids, answer.similarities, [node.get_content() for node in answer.nodes], [node.metadata for node in answer.nodes]]
query = lambda **options: found(index.query(VectorStoreQuery(query_embedding=Letters().embed_query("cats"), **options)))
step("llamaindex add", lambda: index.add(nodes))
step("llamaindex query", lambda: query(similarity_top_k=3))
for operator, value in [(FilterOperator.EQ, 1), (FilterOperator.NE, 1), (FilterOperator.GT, 1), (FilterOperator.LTE, 2), (FilterOperator.IN, [1, 3]), (FilterOperator.NIN, [1, 3])]:
    step(f"llamaindex {operator.value}", lambda: query(similarity_top_k=9, filters=MetadataFilters(filters=[MetadataFilter(key="n", value=value, operator=operator)])))
both = lambda condition: MetadataFilters(filters=[MetadataFilter(key="kind", value="base"), MetadataFilter(key="n", value=3, operator=FilterOperator.GTE)], condition=condition)
step("llamaindex and", lambda: query(similarity_top_k=9, filters=both(FilterCondition.AND)))
step("llamaindex or", lambda: query(similarity_top_k=9, filters=both(FilterCondition.OR)))
step("llamaindex mmr", lambda: query(similarity_top_k=2, mode=VectorStoreQueryMode.MMR))
step("llamaindex nodes", lambda: [node.node_id for node in index.get_nodes(["n1", "n3"])])
step("llamaindex nodes by filter", lambda: [node.node_id for node in index.get_nodes(filters=both(FilterCondition.AND))])
step("llamaindex delete document", lambda: index.delete("doc1"))
step("llamaindex delete nodes", lambda: index.delete_nodes(["n0"]))
step("llamaindex left", collection.count)
step("llamaindex from params", lambda: ChromaVectorStore.from_params("nodes", host=host, port=str(port)).get_nodes(["n2"])[0].get_content())
step("llamaindex clear", index.clear)

# Open WebUI: a collection for each file, cosine by metadata, batches, searches by hash and id.
web = client()
files = web.get_or_create_collection(name="file-0b1e5d4a", metadata={"hnsw:space": "cosine"})
rows = [{"id": f"chunk-{i}", "text": text, "vector": Letters().embed_query(text), "metadata": {"file_id": "0b1e5d4a", "hash": "c0ffee", "name": "a.md", "start_index": i, "embedding_config": '{"engine": ""}'}} for i, text in enumerate(texts)]
for batch in create_batches(api=web, documents=[row["text"] for row in rows], embeddings=[row["vector"] for row in rows], ids=[row["id"] for row in rows], metadatas=[row["metadata"] for row in rows]):
    step("webui insert", lambda: files.add(*batch))
step("webui known", lambda: "file-0b1e5d4a" in [getattr(one, "name", one) for one in web.list_collections()])
step("webui search", lambda: web.get_collection(name="file-0b1e5d4a").query(query_embeddings=[Letters().embed_query("mice")], n_results=3))
step("webui query", lambda: web.get_collection(name="file-0b1e5d4a").get(where={"hash": "c0ffee"}, limit=1))
step("webui get", lambda: web.get_collection(name="file-0b1e5d4a").get())
step("webui upsert", lambda: web.get_or_create_collection(name="file-0b1e5d4a", metadata={"hnsw:space": "cosine"}).upsert(ids=["chunk-0", "chunk-9"], documents=["changed", "added"], embeddings=[rows[1]["vector"], rows[2]["vector"]], metadatas=[{"hash": "new"}, {"hash": "new"}]))
step("webui delete filter", lambda: web.get_collection(name="file-0b1e5d4a").delete(where={"hash": "new"}))
step("webui delete ids", lambda: web.get_collection(name="file-0b1e5d4a").delete(ids=["chunk-1"]))
step("webui left", lambda: web.get_collection(name="file-0b1e5d4a").get(include=[]))
step("webui delete", lambda: web.delete_collection(name="file-0b1e5d4a"))
step("webui deleted", lambda: web.get_collection(name="file-0b1e5d4a"))

# mem0: no documents, the text in the metadata; one vector and one id instead of lists.
memory = chromadb.Client(Settings(chroma_api_impl="chromadb.api.fastapi.FastAPI", chroma_server_host=host, chroma_server_http_port=port, anonymized_telemetry=False))
memories = memory.get_or_create_collection(name="mem0", embedding_function=None)
payload = lambda i: {"data": texts[i], "hash": f"h{i}", "created_at": f"2026-01-0{i + 1}T00:00:00", "user_id": f"user{i % 2}"}
step("mem0 insert", lambda: memories.add(ids=[f"m{i}" for i in range(5)], embeddings=[Letters().embed_query(text) for text in texts], metadatas=[payload(i) for i in range(5)]))
step("mem0 search", lambda: memories.query(query_embeddings=Letters().embed_query("cats"), where={"user_id": {"$eq": "user0"}}, n_results=5))
step("mem0 search and", lambda: memories.query(query_embeddings=Letters().embed_query("cats"), where={"$and": [{"user_id": {"$eq": "user0"}}, {"hash": {"$ne": "h0"}}]}, n_results=5))
step("mem0 update", lambda: memories.update(ids="m0", embeddings=Letters().embed_query("dogs"), metadatas={**payload(0), "data": "dogs"}))
step("mem0 get", lambda: memories.get(ids=["m0"]))
step("mem0 list", lambda: memories.get(where={"user_id": {"$eq": "user1"}}, limit=100))
step("mem0 list all", lambda: memories.get(where=None, limit=2))
step("mem0 delete", lambda: memories.delete(ids=["m0"]))
step("mem0 info", lambda: memory.get_collection(name="mem0", embedding_function=None))
step("mem0 reset", lambda: memory.delete_collection(name="mem0"))
show("end", True)
