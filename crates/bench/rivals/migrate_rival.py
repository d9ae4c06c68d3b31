"""What people do without Panopticon to bring a Chroma collection into PostgreSQL.

copy DIR TABLE --page N             pages through collection.get(), and COPY ... FROM STDIN (FORMAT BINARY) by psycopg,
                                    all in one transaction
embed DIR TABLE --rows N --model M  the first N texts, one by one: embedded again by chromadb's default embedding
                                    function, inserted, committed

Both print one JSON line: rows, seconds without the start of Python, opening the client and loading index or model
(that is `open_s`), and the versions that did it. DATABASE_URL names the database. TABLE is made by whoever calls, has
the columns of the table that `panopticon migrate collection` makes, and is empty. Run them on a copy of the
directory: opening it may change it. Columns that only Panopticon can fill are left empty, which is to the rival's good.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import resource
import time
import types
import uuid

import chromadb
import psycopg
from chromadb.config import Settings
from pgvector.psycopg import register_vector
from psycopg.types.json import Jsonb

import embed_rivals

COLUMNS = {
    "id": "uuid",
    "source_id": "text",
    "document": "text",
    "metadata": "jsonb",
    "created_at": "timestamp",
    "embedding": "vector",
}


def collection(path):
    settings = Settings(anonymized_telemetry=False)
    return chromadb.PersistentClient(path, settings=settings).get_collection("bench", embedding_function=None)


def connect():
    connection = psycopg.connect(os.environ["DATABASE_URL"])
    register_vector(connection)
    return connection


def rows(got, embeddings, now):
    for id, document, metadata, embedding in zip(got["ids"], got["documents"], got["metadatas"], embeddings):
        yield uuid.UUID(id), id, document, Jsonb(metadata), now, embedding


def copy(arguments):
    started = time.perf_counter()
    source, connection = collection(arguments.path), connect()
    total = source.count()
    source.get(limit=1, include=["embeddings"])
    open_s = time.perf_counter() - started
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    started = time.perf_counter()
    get_s = 0.0
    columns = ", ".join(COLUMNS)
    with connection.cursor() as cursor:
        with cursor.copy(f"copy {arguments.table} ({columns}) from stdin (format binary)") as stream:
            stream.set_types(list(COLUMNS.values()))
            for offset in range(0, total, arguments.page):
                before = time.perf_counter()
                got = source.get(
                    limit=arguments.page, offset=offset, include=["embeddings", "documents", "metadatas"]
                )
                get_s += time.perf_counter() - before
                for row in rows(got, got["embeddings"], now):
                    stream.write_row(row)
    connection.commit()
    return {"rows": total, "seconds": time.perf_counter() - started, "get_s": get_s, "open_s": open_s}


def embed(arguments):
    missing = embed_rivals.missing_package(embed_rivals.ChromaDefault.packages)
    options = types.SimpleNamespace(
        model=arguments.model, texts="", threads=os.cpu_count(), rounds=1, cache=arguments.cache
    )
    if not os.path.exists(os.path.join(embed_rivals.onnx_folder(options), "model.onnx")):
        missing = missing or embed_rivals.missing_package(embed_rivals.EXPORT_PACKAGES)
        if not missing and embed_rivals.run_in_own_process("export", options):
            missing = "the exported model"
    if missing:
        return {"missing": missing}
    started = time.perf_counter()
    source, connection = collection(arguments.path), connect()
    engine = embed_rivals.ChromaDefault(options)
    engine.embed([embed_rivals.SHORT_TEXT])
    got = source.get(limit=arguments.rows, include=["documents", "metadatas"])
    open_s = time.perf_counter() - started
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    insert = f"insert into {arguments.table} ({', '.join(COLUMNS)}) values ({', '.join(['%s'] * len(COLUMNS))})"
    started = time.perf_counter()
    with connection.cursor() as cursor:
        for row in rows(got, map(engine.embed, ([document] for document in got["documents"])), now):
            *others, embedding = row
            cursor.execute(insert, (*others, embedding[0]))
            connection.commit()
    return {"rows": len(got["ids"]), "seconds": time.perf_counter() - started, "open_s": open_s}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["copy", "embed"])
    parser.add_argument("path")
    parser.add_argument("table")
    parser.add_argument("--page", type=int, default=5_000)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--model")
    parser.add_argument("--cache", default=os.path.join(os.path.expanduser("~"), ".cache", "panopticon-bench"))
    arguments = parser.parse_args()
    report = (copy if arguments.what == "copy" else embed)(arguments)
    report["versions"] = {name: importlib.metadata.version(name) for name in ["chromadb", "psycopg", "pgvector"]}
    report["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(report))
