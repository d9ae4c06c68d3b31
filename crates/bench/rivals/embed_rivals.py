#!/usr/bin/env python3
"""Measure how fast Python embeds texts with all-MiniLM-L6-v2, by three common ways, on the CPU.

    python embed_rivals.py --model MODEL_DIR --texts TEXTS.jsonl [--rival onnx|sentence-transformers|chroma]
                           [--threads 2] [--rounds 1] [--cache DIR] [--vectors OUT.f32]

TEXTS.jsonl holds one JSON string a line. One JSON object a line is printed for each rival:

    rival             onnxruntime, sentence-transformers or chroma-default
    package_versions  of what does the work
    texts, seconds    number of texts, and the median time of the rounds for all of them
    texts_per_s       texts / seconds
    p50_ms, p99_ms    one short text alone, 50 times after a warm-up
    load_s            from before the first import to the first embedding
    rss_mb            peak resident memory of the process (VmHWM)

or {"rival", "missing": "package …"} when a package is not installed. What each rival does is in its class. Each runs
in its own process. The ONNX file is exported once from the safetensors weights into --cache, and compared with
PyTorch there. With more than one rival, --vectors writes OUT.<rival>.f32 for each.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time

SHORT_TEXT = "Explain how nuclear fusion works and why it is so hard."
MAX_PIECES = 256
BATCH = 32
REPETITIONS = 50
WARM_UP = 5
OPSET = 14
MAX_EXPORT_ERROR = 1e-6
# chromadb's embedding function downloads the model unless these exist.
CHROMA_FILES = ["config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]


class OnnxRuntime:
    """ONNX Runtime and tokenizers: texts sorted by characters, batches of 32, each padded to its longest text."""

    name = "onnxruntime"
    packages = ["onnxruntime", "tokenizers", "numpy"]
    needs_onnx = True

    def __init__(self, args):
        import numpy
        import onnxruntime
        from tokenizers import Tokenizer

        self.np = numpy
        self.tokenizer = Tokenizer.from_file(os.path.join(args.model, "tokenizer.json"))
        self.tokenizer.enable_truncation(MAX_PIECES)
        self.tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(
            os.path.join(onnx_folder(args), "model.onnx"), options, providers=["CPUExecutionProvider"])

    def embed(self, texts):
        np = self.np
        out = np.empty((len(texts), 384), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), BATCH):
            chosen = order[start:start + BATCH]
            encoded = self.tokenizer.encode_batch([texts[i] for i in chosen])
            ids = np.array([e.ids for e in encoded], np.int64)
            mask = np.array([e.attention_mask for e in encoded], np.int64)
            hidden = self.session.run(
                None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})[0]
            weight = mask[:, :, None].astype(np.float32)
            mean = (hidden * weight).sum(1) / weight.sum(1)
            out[chosen] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return out


class SentenceTransformers:
    """SentenceTransformer.encode, batches of 32 (it sorts by characters itself), at most 256 word pieces."""

    name = "sentence-transformers"
    packages = ["sentence-transformers", "torch", "transformers", "tokenizers", "numpy"]
    needs_onnx = False

    def __init__(self, args):
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(args.threads)
        self.model = SentenceTransformer(args.model, device="cpu")
        self.model.max_seq_length = MAX_PIECES

    def embed(self, texts):
        return self.model.encode(texts, batch_size=BATCH, convert_to_numpy=True, show_progress_bar=False)


class ChromaDefault:
    """chromadb's own ONNXMiniLM_L6_V2, which pads every text to 256 word pieces. Only the folder of its model and
    the number of threads are set from outside."""

    name = "chroma-default"
    packages = ["chromadb", "onnxruntime", "tokenizers", "numpy"]
    needs_onnx = True

    def __init__(self, args):
        import pathlib
        import types

        from chromadb.utils.embedding_functions.onnx_mini_lm_l6_v2 import ONNXMiniLM_L6_V2

        class Local(ONNXMiniLM_L6_V2):
            DOWNLOAD_PATH = pathlib.Path(os.path.dirname(onnx_folder(args)))

            def _download(self, url, fname, chunk_size=1024):
                raise RuntimeError(f"expected the model's files in {self.DOWNLOAD_PATH}, found them incomplete")

        self.function = Local(preferred_providers=["CPUExecutionProvider"])
        ort = self.function.ort

        def session_options():
            options = ort.SessionOptions()
            options.intra_op_num_threads = args.threads
            return options

        self.function.ort = types.SimpleNamespace(
            SessionOptions=session_options, InferenceSession=ort.InferenceSession,
            GraphOptimizationLevel=ort.GraphOptimizationLevel, get_available_providers=ort.get_available_providers)

    def embed(self, texts):
        import numpy

        return numpy.stack(self.function(texts))


RIVALS = {"onnx": OnnxRuntime, "sentence-transformers": SentenceTransformers, "chroma": ChromaDefault}
EXPORT_PACKAGES = ["torch", "transformers", "tokenizers", "onnx", "onnxruntime", "numpy"]


def onnx_folder(args):
    return os.path.join(args.cache, "all-MiniLM-L6-v2", "onnx")


def export(args):
    """Write the ONNX model and its files, and compare it with PyTorch."""
    import shutil

    import numpy
    import onnxruntime
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModel

    folder = onnx_folder(args)
    os.makedirs(folder, exist_ok=True)
    model = AutoModel.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").eval()

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.bert(input_ids=input_ids, attention_mask=attention_mask,
                             token_type_ids=token_type_ids).last_hidden_state

    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = torch.randint(1000, 20000, (2, 7))
    inputs = (example, torch.ones_like(example), torch.zeros_like(example))
    axes = {name: {0: "batch", 1: "sequence"} for name in [*names, "last_hidden_state"]}
    partial = os.path.join(folder, "partial.onnx")
    # The tracing exporter: ONNX Runtime runs its graph at least 5 % faster in batches than the newer exporter's (opsets
    # 18 and 20), and fusing attention beforehand with onnxruntime.transformers gains nothing on a CPU.
    torch.onnx.export(Hidden().eval(), inputs, partial, input_names=names, output_names=["last_hidden_state"],
                      opset_version=OPSET, dynamo=False, dynamic_axes=axes)

    session = onnxruntime.InferenceSession(partial, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(os.path.join(args.model, "tokenizer.json"))
    tokenizer.enable_truncation(MAX_PIECES)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    encoded = tokenizer.encode_batch([SHORT_TEXT, "Short.", "Longer prose. " * 150])
    ids = torch.tensor([e.ids for e in encoded])
    mask = torch.tensor([e.attention_mask for e in encoded])
    with torch.no_grad():
        wanted = pool(torch, model(input_ids=ids, attention_mask=mask).last_hidden_state, mask)
    got = session.run(None, dict(zip(names, (ids.numpy(), mask.numpy(), numpy.zeros_like(ids.numpy())))))[0]
    error = (pool(torch, torch.tensor(got), mask) - wanted).abs().max().item()
    if error > MAX_EXPORT_ERROR:
        raise SystemExit(f"exported model differs from PyTorch by {error:.3g}, expected at most {MAX_EXPORT_ERROR:.0e}")
    for file in CHROMA_FILES:
        shutil.copyfile(os.path.join(args.model, file), os.path.join(folder, file))
    os.replace(partial, os.path.join(folder, "model.onnx"))
    print(f"exported {folder}/model.onnx, vectors within {error:.2g} of PyTorch", file=sys.stderr)


def pool(torch, hidden, mask):
    weight = mask[:, :, None].float()
    return torch.nn.functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=1)


def measure(rival, args):
    """Run one rival in this process and print its line."""
    texts = [json.loads(line) for line in open(args.texts, encoding="utf-8") if line.strip()]
    start = time.perf_counter()
    engine = rival(args)
    engine.embed([SHORT_TEXT])
    load_s = time.perf_counter() - start

    for _ in range(WARM_UP):
        engine.embed([SHORT_TEXT])
    single = [timed(engine.embed, [SHORT_TEXT])[0] for _ in range(REPETITIONS)]
    rounds = [timed(engine.embed, texts) for _ in range(args.rounds)]
    seconds = statistics.median(took for took, _ in rounds)
    vectors = rounds[-1][1]
    if args.vectors:
        vectors.astype("<f4").tofile(args.vectors)
    print(json.dumps({
        "rival": rival.name,
        "package_versions": {package: importlib.metadata.version(package) for package in rival.packages},
        "texts": len(texts),
        "seconds": round(seconds, 3),
        "texts_per_s": round(len(texts) / seconds, 1),
        "p50_ms": round(1e3 * statistics.median(single), 3),
        "p99_ms": round(1e3 * statistics.quantiles(single, n=100, method="inclusive")[98], 3),
        "load_s": round(load_s, 3),
        "rss_mb": round(peak_rss_mb(), 1),
    }), flush=True)


def timed(function, argument):
    start = time.perf_counter()
    result = function(argument)
    return time.perf_counter() - start, result


def peak_rss_mb():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    except FileNotFoundError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def missing_package(packages):
    for package in packages:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return package
    return None


def run_in_own_process(worker, args, vectors=None):
    command = [sys.executable, os.path.abspath(__file__), "--worker", worker, "--model", args.model, "--texts",
               args.texts, "--threads", str(args.threads), "--rounds", str(args.rounds), "--cache", args.cache]
    if vectors:
        command += ["--vectors", vectors]
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
             "TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": str(args.threads),
             "OMP_NUM_THREADS": str(args.threads), "ANONYMIZED_TELEMETRY": "False"}
    return subprocess.run(command, env=os.environ | quiet).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="MODEL_DIR")
    parser.add_argument("--texts", required=True, metavar="TEXTS.jsonl")
    parser.add_argument("--rival", choices=RIVALS, action="append", help="may be repeated; all of them by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cache", default=os.path.join(os.path.expanduser("~"), ".cache", "panopticon-bench"))
    parser.add_argument("--vectors", metavar="OUT.f32")
    parser.add_argument("--worker", choices=["export", *RIVALS], help=argparse.SUPPRESS)
    args = parser.parse_args()

    if args.worker:
        return export(args) if args.worker == "export" else measure(RIVALS[args.worker], args)

    chosen, failed = args.rival or list(RIVALS), False
    for key in chosen:
        rival = RIVALS[key]
        exported = os.path.exists(os.path.join(onnx_folder(args), "model.onnx"))
        export_needed = rival.needs_onnx and not exported
        missing = missing_package(rival.packages + (EXPORT_PACKAGES if export_needed else []))
        if missing:
            print(json.dumps({"rival": rival.name, "missing": f"package {missing}"}), flush=True)
            continue
        vectors = args.vectors
        if vectors and len(chosen) > 1:
            stem, extension = os.path.splitext(vectors)
            vectors = f"{stem}.{rival.name}{extension}"
        if (export_needed and run_in_own_process("export", args)) or run_in_own_process(key, args, vectors):
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
