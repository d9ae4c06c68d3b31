#!/usr/bin/env python3
"""Write the reference set of the embed crate: texts, their token ids and their vectors as PyTorch computes them.

    python make_reference.py MODEL_DIR [--check-encode] [--check-chroma DIR_OR_SQLITE]

MODEL_DIR is the sentence-transformers directory of all-MiniLM-L6-v2 (model.safetensors, tokenizer.json,
config.json). Three files are written next to this script:

    reference_texts.jsonl    one JSON string a line (ASCII, so that control characters survive every editor)
    reference_tokens.jsonl   one JSON array of token ids a line, [CLS] and [SEP] included, at most 256
    reference_vectors.f32    little-endian f32, [texts, 384], row-major, normalised to length 1

What is computed: tokenizer.json with its truncation overridden to 256 and its padding off; every text alone, so
no padding and no neighbour takes part; BERT in float32 on the CPU, one thread, eager attention, eval mode; the
mean over all tokens weighted by the mask; the L2 norm in f32. This is what sentence-transformers' encode() does
with max_seq_length = 256, which --check-encode confirms. --check-chroma compares with the vectors that a real
Chroma stored in its log (table embeddings_queue).
"""

import argparse
import glob
import json
import os
import sqlite3

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModel

from reference_texts import texts

HERE = os.path.dirname(os.path.abspath(__file__))
MAX_PIECES = 256
DIMENSION = 384


def cosine_gap(a, b):
    """1 - cosine of each row, in f64 (the f32 norms are 1 only to about 1e-7)."""
    a, b = np.atleast_2d(a).astype(np.float64), np.atleast_2d(b).astype(np.float64)
    return (1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).max()


class Reference:
    """The model, run the plain way."""

    def __init__(self, model_dir):
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        self.tokenizer = Tokenizer.from_file(os.path.join(model_dir, "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.model = AutoModel.from_pretrained(model_dir, dtype=torch.float32, attn_implementation="eager").eval()

    def pieces(self, text):
        """Number of word pieces before truncation, [CLS] and [SEP] included."""
        self.tokenizer.no_truncation()
        return len(self.tokenizer.encode(text).ids)

    def tokens(self, text):
        """Token ids as the model gets them."""
        self.tokenizer.enable_truncation(MAX_PIECES)
        return self.tokenizer.encode(text).ids

    @torch.no_grad()
    def embed(self, ids):
        """[384] f32 of one text, given as token ids."""
        ids = torch.tensor([ids], dtype=torch.long)
        mask = torch.ones_like(ids)
        hidden = self.model(input_ids=ids, attention_mask=mask, token_type_ids=torch.zeros_like(ids)).last_hidden_state
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(mean, p=2, dim=1)[0].numpy()


def check_encode(model_dir, lines, vectors):
    """Compare with SentenceTransformer.encode, texts alone and in padded batches."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(model_dir, device="cpu")
    model.max_seq_length = MAX_PIECES
    for batch in (1, 32):
        got = model.encode(lines, batch_size=batch, convert_to_numpy=True, show_progress_bar=False)
        worst = np.abs(got - vectors).max(axis=1)
        print(f"encode(), batch {batch}: max abs {worst.max():.3g} (text {worst.argmax()}), "
              f"1 - cos max {cosine_gap(got, vectors):.3g}")


def check_chroma(path, reference):
    """Compare with the vectors in a Chroma log."""
    files = [path] if os.path.isfile(path) else glob.glob(os.path.join(path, "**", "chroma.sqlite3"), recursive=True)
    for file in files:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as db:
            rows = db.execute("select vector, metadata from embeddings_queue where vector is not null").fetchall()
        for vector, metadata in rows:
            document = json.loads(metadata)["chroma:document"]
            got = reference.embed(reference.tokens(document))
            stored = np.frombuffer(vector, "<f4")
            print(f"chroma: max abs {np.abs(got - stored).max():.3g}, "
                  f"1 - cos {cosine_gap(got, stored):.3g}: {document[:60]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir")
    parser.add_argument("--check-encode", action="store_true")
    parser.add_argument("--check-chroma", metavar="DIR_OR_SQLITE")
    args = parser.parse_args()

    reference = Reference(args.model_dir)
    lines = texts(reference.pieces)
    assert len(set(lines)) == len(lines), [t for t in lines if lines.count(t) > 1]
    tokens = [reference.tokens(text) for text in lines]
    vectors = np.stack([reference.embed(ids) for ids in tokens]).astype("<f4")
    assert vectors.shape == (len(lines), DIMENSION) and np.isfinite(vectors).all()

    with open(os.path.join(HERE, "reference_texts.jsonl"), "w", newline="\n") as out:
        out.writelines(json.dumps(text) + "\n" for text in lines)
    with open(os.path.join(HERE, "reference_tokens.jsonl"), "w", newline="\n") as out:
        out.writelines(json.dumps(ids, separators=(",", ":")) + "\n" for ids in tokens)
    vectors.tofile(os.path.join(HERE, "reference_vectors.f32"))
    print(f"{len(lines)} texts, {sum(map(len, tokens))} tokens, "
          f"{sum(len(ids) == MAX_PIECES for ids in tokens)} at the limit of {MAX_PIECES}")

    if args.check_encode:
        check_encode(args.model_dir, lines, vectors)
    if args.check_chroma:
        check_chroma(args.check_chroma, reference)


if __name__ == "__main__":
    main()
