"""Chroma's own client as a rival of the directory reader.

make DIR --space l2|cosine --records N   writes a collection `bench` with the installed chromadb: 384 dimensions,
                                         documents of about 300 characters, three metadata keys, ids uuid4,
                                         batches of 5,000, default settings, so that its index is flushed
read DIR --page N                        reads it through collection.get(), N records a call; prints one JSON
                                         line: records, seconds of the get() calls alone (opening the client and
                                         loading the index is `open_s`), the sum of the characters of all
                                         documents, the number of metadata keys, and the sum of all components as
                                         bits (u32) modulo 2**64

Run `read` on a copy: opening a directory may change it. chromadb is the newest that requirements.txt pins.
"""

import argparse
import json
import random
import resource
import time
import uuid

import chromadb
import numpy as np
from chromadb.config import Settings

DIMENSION = 384
BATCH = 5_000
SEED = 7
WORDS = (
    "the archive keeps every measurement since spring without a second look while our reader copies letters from "
    "the old library before winter and a small index repeats the names of forgotten places in plain words"
).split()


def client(path):
    return chromadb.PersistentClient(path, settings=Settings(anonymized_telemetry=False))


def make(path, space, records):
    rng, words = np.random.default_rng(SEED), random.Random(SEED)
    collection = client(path).create_collection(
        "bench", configuration={"hnsw": {"space": space}}, embedding_function=None
    )
    for first in range(0, records, BATCH):
        count = min(BATCH, records - first)
        vectors = rng.standard_normal((count, DIMENSION)).astype("<f4")
        collection.add(
            ids=[str(uuid.UUID(int=words.getrandbits(128), version=4)) for _ in range(count)],
            embeddings=vectors,
            documents=[" ".join(words.choices(WORDS, k=52)) for _ in range(count)],
            metadatas=[
                {"category": words.choice(WORDS), "page": words.randrange(900), "score": words.random()}
                for _ in range(count)
            ],
        )


def read(path, page):
    started = time.perf_counter()
    collection = client(path).get_collection("bench", embedding_function=None)
    total = collection.count()
    collection.get(limit=1, include=["embeddings"])
    open_s = time.perf_counter() - started
    records = characters = keys = bits = 0
    seconds = 0.0
    for offset in range(0, total, page):
        started = time.perf_counter()
        got = collection.get(
            limit=page, offset=offset, include=["embeddings", "documents", "metadatas"]
        )
        seconds += time.perf_counter() - started
        records += len(got["ids"])
        characters += sum(map(len, got["documents"]))
        keys += sum(map(len, got["metadatas"]))
        vectors = np.ascontiguousarray(got["embeddings"], dtype="<f4")
        bits = (bits + int(vectors.view("<u4").sum(dtype="<u8"))) % 2**64
    return {
        "version": chromadb.__version__,
        "records": records,
        "seconds": seconds,
        "open_s": open_s,
        "characters": characters,
        "keys": keys,
        "bits": bits,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["make", "read"])
    parser.add_argument("path")
    parser.add_argument("--space", default="l2")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--page", type=int, default=5_000)
    arguments = parser.parse_args()
    if arguments.what == "make":
        make(arguments.path, arguments.space, arguments.records)
    else:
        print(json.dumps(read(arguments.path, arguments.page)))
