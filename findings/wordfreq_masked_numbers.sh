#!/bin/bash
# wordfreq 3.1.1 writes 0 for every digit of a number of two digits or more: its large English list
# has 00, 0,000 and 0000s and no other number above 9. Fails when that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --target "$folder" wordfreq==3.1.1
PYTHONPATH=$folder python3 - <<'PYTHON'
import re
from importlib.metadata import version

import wordfreq

words = list(wordfreq.iter_wordlist("en", wordlist="large"))
masked = [word for word in words if re.search(r"\d[\d.,]+", word)]
print(f"wordfreq {version('wordfreq')}: {len(masked)} masked entries, such as {masked[:5]}")
assert {"00", "0,000", "0000s"} <= set(masked)
assert not any(re.search(r"[1-9]", found) for word in masked for found in re.findall(r"\d[\d.,]+", word))
PYTHON
