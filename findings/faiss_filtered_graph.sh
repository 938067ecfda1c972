#!/bin/bash
# faiss 1.15.1: a search of HNSW with a selector walks towards the query and stops there. Where the
# rows that pass lie elsewhere, it returns as many as were asked for and few of the right ones.
# Fails when that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --target "$folder" faiss-cpu==1.15.1 numpy
PYTHONPATH=$folder python3 - <<'PYTHON'
from importlib.metadata import version

import faiss
import numpy as np

rng = np.random.default_rng(0)
centres = rng.standard_normal((400, 64), dtype=np.float32)
rows = centres[rng.integers(0, 400, 20_000)] + 0.7 * rng.standard_normal((20_000, 64))
rows = np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
index = faiss.IndexHNSWFlat(64, 32, faiss.METRIC_INNER_PRODUCT)
index.hnsw.efConstruction = 128
index.add(rows)
recalls, counts = [], []
for query in rows[:20]:
    scores = rows @ query
    passing = np.sort(np.argsort(-scores)[12_000:])  # the farthest 40%
    bits = np.zeros(len(rows), bool)
    bits[passing] = True
    selector = faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))
    options = faiss.SearchParametersHNSW(efSearch=200, sel=selector)
    found = index.search(query[None], 10, params=options)[1][0]
    right = passing[np.argsort(-scores[passing])[:10]]
    recalls.append(np.isin(right, found).mean())
    counts.append((found >= 0).sum())
print(f"faiss {version('faiss-cpu')}: {np.mean(counts):.1f} of 10 rows, recall {np.mean(recalls):.2f}")
assert np.mean(recalls) < 0.9
PYTHON
