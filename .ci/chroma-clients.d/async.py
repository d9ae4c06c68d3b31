"""The asynchronous Python client, with many requests at once."""

import asyncio

import chromadb
from chromadb.config import Settings

from transcript import host, port, show, show_error


async def step(label, awaitable):
    try:
        answer = await awaitable
    except Exception as error:  # noqa: BLE001: the exception is the answer
        show_error(label, error)
        return None
    show(label, answer)
    return answer


async def main():
    client = await chromadb.AsyncHttpClient(host=host, port=port, settings=Settings(allow_reset=True, anonymized_telemetry=False))
    await step("reset", client.reset())
    docs = await client.create_collection("async", embedding_function=None, metadata={"hnsw:space": "cosine"})
    await step("again", client.create_collection("async", embedding_function=None))
    await asyncio.gather(*(
        docs.add(ids=[f"{batch}-{i}" for i in range(50)], embeddings=[[batch + 1.0, i, 1.0] for i in range(50)],
                 documents=[f"text {i} of {batch}" for i in range(50)], metadatas=[{"batch": batch, "i": i} for i in range(50)])
        for batch in range(20)
    ))
    await step("count", docs.count())
    found = await asyncio.gather(*(docs.query(query_embeddings=[[batch + 1.0, 3, 1.0]], n_results=1, where={"batch": batch}) for batch in range(20)))
    show("queries", [answer["ids"] for answer in found])
    await step("get", docs.get(ids=["3-4"], include=["embeddings", "documents", "metadatas"]))
    # Chroma mixes vectors and documents of such upserts.
    await asyncio.gather(*(docs.upsert(ids=["same"], embeddings=[[i, i, i]], documents=["same"]) for i in range(1, 20)))
    await step("same", docs.get(ids=["same"]))
    made = await asyncio.gather(*(client.get_or_create_collection("raced", embedding_function=None) for _ in range(30)))
    show("one collection", len({str(one.id) for one in made}))
    await step("deleted", docs.delete(where={"batch": {"$gte": 5}}))
    await step("left", docs.count())
    await step("wrong", docs.get(where={"$what": 1}))
    await step("modified", docs.modify(name="renamed"))
    await step("names", _names(client))
    await step("gone", client.delete_collection("gone"))


async def _names(client):
    return sorted(one.name for one in await client.list_collections())


asyncio.run(main())
