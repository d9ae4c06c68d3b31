#!/usr/bin/env python3
"""Write the sample ChromaDB directories with a real Chroma, in the way the old Python services did.

    python make_sample.py OUT_DIR MODEL_DIR [--service query|evaluation|judge ...]

Each service's directory and its part of OUT_DIR/expected.json are replaced. MODEL_DIR is the sentence-transformers
directory of all-MiniLM-L6-v2; vectors are computed by PyTorch, one text at a time, as for the embed crate's
reference set. Texts, ids, metadata and vectors are the same at every run; segment ids and Chroma's own clock are not.

Each record is written by its own call, as a POST to the old service was. Afterwards the part of the HNSW files that
belongs to no element, which Chroma leaves as uninitialised memory of the writing process, is set to zero.
"""

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import uuid
from datetime import datetime, timedelta

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [HERE, os.path.join(HERE, "..", "crates", "embed", "testdata")]

from sample_texts import (  # noqa: E402
    DELETED_OUTPUT, DELETED_QUERY, METRICS, MODELS, THEMES, WITHOUT_THEME)

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://panopticon.example/sample")
SERVICES = {
    # service: (directory, collection, category key, log records after which Chroma writes its HNSW files)
    "query": ("query_storage_data", "queries", "theme", 40),
    "evaluation": ("evaluation_storage_data", "evaluation_metrics", "metric_type", None),
    "judge": ("judge_service_data", "llm_outputs", "theme", 25),
}
DIFFICULTIES = ["easy", "medium", "hard"]
UPDATED_QUERY = "Explain how nuclear fusion releases energy, and why nobody has built a power plant with it yet."
SEARCHES = {
    "query": "How could fusing hydrogen nuclei give us electricity?",
    "evaluation": "Is the text free of factual mistakes?",
    "judge": "plasma, tritium and magnets",
}


def stamp(day, index):
    """A time in 2025 as the old services wrote it: ISO 8601, UTC without zone, microseconds. Later for later records."""
    start = datetime(2025, 1, 1) + timedelta(days=day)
    return (start + timedelta(seconds=45_913 * index, microseconds=137 + 7919 * index % 999_000)).isoformat()


def query_id(text):
    return str(uuid.uuid5(NAMESPACE, "query:" + text))


def query_steps():
    """(operation, id, text, metadata) in writing order."""
    steps = []
    for theme, questions in THEMES.items():
        for text, _ in questions:
            i = len(steps)
            metadata = {"timestamp": stamp(10, i), "theme": theme, "difficulty": DIFFICULTIES[i % 3]}
            if i % 4 == 0:
                metadata |= {"max_tokens": 256 * (1 + i % 5), "temperature": [0.0, 0.1, 0.7, 1.0][i // 4 % 4]}
            if i % 5 == 0:
                metadata |= {"reviewed": i % 2 == 0, "author": "Zoë Nuñez" if i % 2 else "李雷"}
            if not text.isascii() and theme != "finance":
                metadata |= {"język": {"W": "de", "¿": "es", "П": "ru"}.get(text[0], "ja"), "notes": ""}
            steps.append(("add", query_id(text), text, metadata))
    # A number that f64 cannot hold, and a list (Chroma 1.5 has them).
    steps[7][3]["ticket"] = 9_007_199_254_740_993
    steps[6][3]["tags"] = ["fusion", "physics", "⚛ energy"]
    without_theme = ("add", query_id(WITHOUT_THEME), WITHOUT_THEME, {"timestamp": stamp(10, 60), "source": "import.csv"})
    steps.insert(30, without_theme)
    deleted = query_id(DELETED_QUERY)
    steps.insert(35, ("add", deleted, DELETED_QUERY, {"timestamp": stamp(10, 61), "theme": "science"}))
    fusion, sky = THEMES["energy"][0][0], THEMES["science"][0][0]
    proverb = THEMES["creative_writing"][3][0]
    return steps + [
        ("update", query_id(sky), None, {"reviewed": True, "difficulty": "hard"}),
        ("update", query_id(fusion), UPDATED_QUERY, {"revision": 2}),
        ("upsert", query_id(proverb), proverb, {"revision": 2, "score_weight": 0.25}),
        ("delete", deleted, None, None),
    ]


def metric_steps():
    steps = []
    for metric_type, prompts in METRICS.items():
        for text in prompts:
            i = len(steps)
            metadata = {"timestamp": stamp(5, i), "metric_type": metric_type, "scale_min": 1, "scale_max": 10}
            metadata |= {"weight": [1.0, 0.5, 2.25][i % 3], "active": i % 7 != 3}
            if i % 6 == 0:
                metadata["author"] = "Søren Ågård"
            steps.append(("add", str(uuid.uuid5(NAMESPACE, "metric:" + text)), text, metadata))
    return steps


def output_steps():
    steps = []
    answered = [(theme, q, answers) for theme, qs in THEMES.items() for q, answers in qs if answers]
    for theme, question, answers in answered:
        for (model_id, provider), text in zip(MODELS, answers):
            i = len(steps)
            unique = uuid.uuid5(NAMESPACE, "output:" + text)
            metadata = {"timestamp": stamp(60, i), "theme": theme, "model_id": model_id, "provider": provider,
                        "query": question, "query_id": query_id(question), "temperature": 0.7,
                        "completion_tokens": len(text) // 4, "cached": i % 9 == 0}
            steps.append(("add", provider_id(provider, unique, i), text, metadata))
    steps[11][3]["request_serial"] = 9_223_372_036_854_775_807
    steps[13][3]["stop_sequences"] = ["\n\n", "END"]
    steps[16][3]["日本語"] = "はい 👍"
    del steps[41][3]["model_id"]
    deleted = "chatcmpl-" + uuid.uuid5(NAMESPACE, DELETED_OUTPUT).hex[:29]
    steps.insert(20, ("add", deleted, DELETED_OUTPUT, {"timestamp": stamp(60, 60), "theme": "law", "query": "?",
                                                       "model_id": "gpt-4.2-mini", "provider": "openai"}))
    return steps + [
        ("update", steps[2][1], None, {"flagged": True}),
        ("delete", deleted, None, None),
    ]


def provider_id(provider, unique, index):
    """What the provider returned as the answer's id; every tenth answer came without and got a UUID."""
    if index % 10 == 6:
        return str(unique)
    return "chatcmpl-" + unique.hex[:29] if provider == "openai" else "msg_01" + unique.hex[:22]


STEPS = {"query": query_steps, "evaluation": metric_steps, "judge": output_steps}


def final_records(steps):
    """What a reader must find after `steps`: id -> text and metadata, in the order of first writing."""
    records = {}
    for operation, id_, text, metadata in steps:
        if operation == "delete":
            del records[id_]
        else:
            old = records.get(id_, {"text": None, "metadata": {}})
            records[id_] = {"text": text or old["text"], "metadata": old["metadata"] | metadata}
    return records


def write_service(service, out_dir, embed):
    """Write one directory and return its part of expected.json."""
    import chromadb

    directory, collection, category, sync_threshold = SERVICES[service]
    path = os.path.join(out_dir, directory)
    shutil.rmtree(path, ignore_errors=True)
    client = chromadb.PersistentClient(path, settings=chromadb.Settings(anonymized_telemetry=False))
    options = {"configuration": {"hnsw": {"space": "cosine", "sync_threshold": sync_threshold}}} if sync_threshold else {}
    chroma = client.create_collection(collection, metadata={"hnsw:space": "cosine"}, **options)
    steps = STEPS[service]()
    for operation, id_, text, metadata in steps:
        if operation == "delete":
            chroma.delete(ids=[id_])
            continue
        given = {} if text is None else {"documents": [text], "embeddings": [embed(text)]}
        getattr(chroma, operation)(ids=[id_], metadatas=[metadata], **given)
    records = final_records(steps)
    return {
        "directory": directory,
        "collection": collection,
        "chroma_version": chromadb.__version__,
        "space": "cosine",
        "dimension": 384,
        "count": len(records),
        "categories": count_by(records, category),
        "without_category": [i for i, r in records.items() if category not in r["metadata"]],
        "without_model_id": [i for i, r in records.items() if service == "judge" and "model_id" not in r["metadata"]],
        "deleted": [id_ for operation, id_, _, _ in steps if operation == "delete"],
        "updated": [id_ for operation, id_, _, _ in steps if operation in ("update", "upsert")],
        "search": nearest(SEARCHES[service], records, embed),
        "records": [{"id": i, **records[i]} for i in examples(records, steps)],
    }


def count_by(records, key):
    counts = {}
    for record in records.values():
        value = record["metadata"].get(key)
        if value is not None:
            counts[value] = counts.get(value, 0) + 1
    return counts


def examples(records, steps):
    """Ids worth a look in tests: first, last, changed, without a category, with unusual values."""
    unusual = ("ticket", "tags", "język", "request_serial", "stop_sequences", "日本語")
    picked = [i for i, r in records.items() if any(key in r["metadata"] for key in unusual)]
    picked += [i for i, r in records.items() if not {"theme", "metric_type"} & set(r["metadata"])]
    picked += [i for i, r in records.items() if "query" in r["metadata"] and "model_id" not in r["metadata"]]
    picked += [id_ for operation, id_, _, _ in steps if operation in ("update", "upsert")]
    everything = list(records)
    return sorted({everything[0], everything[-1], *picked}, key=everything.index)


def nearest(text, records, embed):
    """The three nearest records by cosine distance, computed over all of them in f64."""
    query = embed(text)
    distances = {i: 1 - sum(float(a) * float(b) for a, b in zip(query, embed(r["text"]))) for i, r in records.items()}
    ids = sorted(distances, key=distances.get)[:3]
    return {"text": text, "nearest": [{"id": i, "distance": round(distances[i], 5)} for i in ids]}


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


def read_back(service, out_dir, embed):
    """Open the written directory with Chroma in a copy and compare every record with what was meant."""
    import chromadb
    import numpy as np

    directory, collection, _, _ = SERVICES[service]
    copy = os.path.join(out_dir, directory + ".copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(os.path.join(out_dir, directory), copy)
    try:
        client = chromadb.PersistentClient(copy, settings=chromadb.Settings(anonymized_telemetry=False))
        chroma = client.get_collection(collection)
        with open(os.path.join(out_dir, "expected.json"), encoding="utf-8") as file:
            expected = json.load(file)[service]
        got = chroma.get(include=["documents", "metadatas", "embeddings"])
        assert chroma.count() == len(got["ids"]) == expected["count"], (chroma.count(), len(got["ids"]))
        by_id = {i: {"text": d, "metadata": m} for i, d, m in zip(got["ids"], got["documents"], got["metadatas"])}
        assert by_id == final_records(STEPS[service]())
        for record in expected["records"]:
            assert by_id[record.pop("id")] == record
        worst = max(np.abs(np.asarray(v, np.float32) - embed(d)).max() for v, d in zip(got["embeddings"], got["documents"]))
        found = chroma.query(query_embeddings=[embed(expected["search"]["text"])], n_results=3)
        wanted = [hit["id"] for hit in expected["search"]["nearest"]]
        assert found["ids"][0] == wanted, (found["ids"], wanted)
        print(f"{service}: {len(by_id)} records read back, vectors within {worst:.2g}")
    finally:
        shutil.rmtree(copy)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir")
    parser.add_argument("model_dir")
    parser.add_argument("--service", action="append", choices=SERVICES)
    parser.add_argument("--read-back", action="store_true", help="compare only; used internally, in a new process")
    args = parser.parse_args()

    from make_reference import Reference
    reference, cache = Reference(args.model_dir), {}

    def embed(text):
        if text not in cache:
            cache[text] = reference.embed(reference.tokens(text))
        return cache[text]

    for service in args.service or SERVICES:
        if args.read_back:
            read_back(service, args.out_dir, embed)
            continue
        result = write_service(service, args.out_dir, embed)
        file = os.path.join(args.out_dir, "expected.json")
        expected = json.load(open(file, encoding="utf-8")) if os.path.exists(file) else {}
        expected[service] = result
        with open(file, "w", encoding="utf-8", newline="\n") as out:
            json.dump({s: expected[s] for s in SERVICES if s in expected}, out, ensure_ascii=False, indent=1)
            out.write("\n")
    if not args.read_back:
        for service in args.service or SERVICES:
            wipe_unused(os.path.join(args.out_dir, SERVICES[service][0]))
        subprocess.run([sys.executable, *sys.argv, "--read-back"], check=True)


if __name__ == "__main__":
    main()
