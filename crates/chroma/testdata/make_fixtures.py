#!/usr/bin/env python3
"""Write a small persist directory with a real Chroma, and beside it what was written and what that Chroma returns.

    python3.11 -m venv VENV && VENV/bin/pip install chromadb==VERSION
    VENV/bin/python make_fixtures.py

makes `fixtures/small-VERSION.tar.gz` with the directory `small`, `small.model.jsonl` (what the client wrote, raw float32) and
`small.expected.jsonl` (what Chroma returns for it, asked in another process, of a copy). One JSON object a line: a
collection, or one of its records, whose embedding is the base64 of its little-endian float32.

Ids, texts, metadata and vectors are the same at every run; Chroma's own ids and times are not. What HNSW files hold behind
their last element, uninitialised memory of the writing process, is set to zero.
"""

import base64
import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import tarfile
import tempfile

import chromadb

HERE = os.path.dirname(os.path.abspath(__file__))
VERSION = tuple(int(part) for part in chromadb.__version__.split("."))
TENANT, DATABASE = "default_tenant", "default_database"
# So that a few records make Chroma write its HNSW files, several times, and leave some in the log.
SMALL_INDEX = {"hnsw:batch_size": 5, "hnsw:sync_threshold": 10}
INCLUDE = ["embeddings", "documents", "metadatas", "uris"]


def client(path, tenant=TENANT, database=DATABASE):
    settings = chromadb.Settings(anonymized_telemetry=False, is_persistent=True, persist_directory=path)
    return chromadb.PersistentClient(path, tenant=tenant, database=database, settings=settings)


def vector(seed, dimension, length=1.0):
    """Components between -length and length, by a linear congruential generator."""
    components = []
    state = seed * 2_654_435_761 % 2**32
    for _ in range(dimension):
        state = (state * 1_664_525 + 1_013_904_223) % 2**32
        components.append(struct.unpack("<f", struct.pack("<f", (state / 2**31 - 1) * length))[0])
    return components


def metadata(number):
    """All types of values, and only some of the keys in each record."""
    values = {"number": number, "text": f"text {number}", "third": number / 3, "whole": float(number), "is_odd": number % 2 == 1}
    if number % 3 == 0:
        values |= {"ключ 🎈": "значение", "empty": ""}
    if number % 5 == 0:
        values |= {"beyond_double": 2**53 + 1 + number, "smallest": -(2**63)}
    if number % 7 == 0 and VERSION >= (1, 5):
        values |= {"list": ["a", "ü", ""], "numbers": [1, 2]}
    return values


class Collection:
    """A collection, and what is in it."""

    def __init__(self, chroma, model, name, space, database=DATABASE, index=None):
        self.collection = chroma.create_collection(name, metadata={"hnsw:space": space, **(index or {})})
        self.records = model.setdefault((TENANT, database, name), {})

    def write(self, operation, id_, embedding=None, document=None, metadata=None, uri=None):
        given = {"embeddings": embedding, "documents": document, "metadatas": metadata, "uris": uri}
        given = {key: value for key, value in given.items() if value is not None}
        getattr(self.collection, operation)(ids=[id_], **{key: [value] for key, value in given.items()})
        old = self.records.get(id_, {"embeddings": None, "documents": None, "metadatas": None, "uris": None})
        if "metadatas" in given:
            given["metadatas"] = {**(old["metadatas"] or {}), **given["metadatas"]}
        self.records[id_] = {**old, **given}

    def delete(self, id_):
        self.collection.delete(ids=[id_])
        del self.records[id_]

    def fill(self, count, dimension, length=1.0):
        for n in range(count):
            text = f"document {n} — ünïcödé 漢字 🚀" if n % 4 != 3 else None
            uri = f"file:///images/{n}.png" if n % 4 == 1 else None
            self.write("add", f"id {n}", vector(n, dimension, length), text, metadata(n), uri)


def write(path):
    """Writes the directory; what was written, by tenant, database and collection, and id."""
    chroma, model = client(path), {}
    log = Collection(chroma, model, "log_only", "l2")
    log.fill(9, 3)
    log.write("update", "id 1", vector(101, 3), "changed", {"number": -1})
    log.write("update", "id 2", metadata={"added": True})
    log.write("upsert", "id 4", vector(104, 3), "changed too", {"third": 0.1})
    log.write("add", "bare", vector(105, 3))
    log.delete("id 3")

    for name, space, length in (("cosine", "cosine", 7.5), ("inner_product", "ip", 1.0), ("euclidean", "l2", 1e-20)):
        indexed = Collection(chroma, model, name, space, index=SMALL_INDEX)
        indexed.fill(23, 8, length)
        indexed.write("update", "id 2", vector(102, 8, length))
        indexed.write("upsert", "id 22", vector(122, 8, length), "changed", {"number": -22})
        for id_ in ("id 0", "id 9", "id 21"):
            indexed.delete(id_)
        indexed.write("add", "id 9", vector(109, 8, length), "its second life", {"life": 2})

    Collection(chroma, model, "never_filled", "l2")
    emptied = Collection(chroma, model, "emptied", "cosine", index=SMALL_INDEX)
    emptied.fill(12, 2)
    for id_ in list(emptied.records):
        emptied.delete(id_)

    chromadb.AdminClient(chroma.get_settings()).create_database("other", TENANT)
    other = Collection(client(path, database="other"), model, "log_only", "cosine", database="other")
    other.fill(3, 5)
    return model


def read(path):
    """What Chroma returns, in the form of `write`, and the id and space of each collection."""
    with sqlite3.connect(os.path.join(path, "chroma.sqlite3")) as database:
        names = [name for name, in database.execute("select name from databases order by name")]
    found, about = {}, {}
    for name in names:
        chroma = client(path, database=name)
        for listed in chroma.list_collections():
            collection = chroma.get_collection(getattr(listed, "name", listed))
            got = collection.get(include=INCLUDE)
            about[TENANT, name, collection.name] = {"collection_id": str(collection.id), "space": collection.metadata["hnsw:space"]}
            found[TENANT, name, collection.name] = {
                id_: {key: None if got[key] is None else got[key][at] for key in INCLUDE} for at, id_ in enumerate(got["ids"])
            }
    return found, about


def save(file, collections, about=None):
    with open(file, "w", encoding="utf-8", newline="\n") as out:
        for (tenant, database, name), records in sorted(collections.items()):
            place = {"tenant": tenant, "database": database}
            place |= (about or {}).get((tenant, database, name), {})
            out.write(json.dumps({"_collection": name, **place, "count": len(records)}) + "\n")
            for id_, record in sorted(records.items()):
                floats = [float(component) for component in record["embeddings"]]
                embedding = base64.b64encode(struct.pack(f"<{len(floats)}f", *floats)).decode()
                line = {**place, "collection": name, "id": id_, "document": record["documents"],
                        "metadata": record["metadatas"], "uri": record["uris"], "embedding": embedding}
                out.write(json.dumps(line, ensure_ascii=False) + "\n")


def wipe_unused(path):
    """Zero what follows the last element in the HNSW files. Header layout as hnswlib writes it, 100 bytes."""
    for folder, _, files in os.walk(path):
        if "header.bin" not in files:
            continue
        with open(os.path.join(folder, "header.bin"), "rb") as header:
            fields = struct.unpack("<iQQQQQQiIQQQdQ", header.read())
        elements, size = fields[3], fields[4]
        for name, used in (("data_level0.bin", elements * size), ("length.bin", elements * 4)):
            file = os.path.join(folder, name)
            unused = os.path.getsize(file) - used
            with open(file, "r+b") as out:
                out.seek(used)
                out.write(bytes(unused))


def plain(member):
    """Without the account that made the archive."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def main():
    if len(sys.argv) == 3:
        save(sys.argv[2], *read(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        directory = os.path.join(folder, "small")
        # In a process of its own, as a service that has ended.
        if (child := os.fork()) == 0:
            save(directory + ".model.jsonl", write(directory))
            sys.stdout.flush()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        wipe_unused(directory)
        with tempfile.TemporaryDirectory() as copy:
            shutil.copytree(directory, copy, dirs_exist_ok=True)
            subprocess.run([sys.executable, __file__, copy, directory + ".expected.jsonl"], check=True)
        archive = os.path.join(HERE, "fixtures", f"small-{chromadb.__version__}.tar.gz")
        os.makedirs(os.path.dirname(archive), exist_ok=True)
        with tarfile.open(archive, "w:gz", compresslevel=9) as out:
            for name in sorted(os.listdir(folder)):
                out.add(os.path.join(folder, name), name, filter=plain)
        print(archive, os.path.getsize(archive), "bytes")


if __name__ == "__main__":
    main()
