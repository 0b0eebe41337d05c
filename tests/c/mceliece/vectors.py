"""Prints the McEliece vectors of the project as lines of words: a key, then ciphertexts with secrets."""

import json
from pathlib import Path

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "rosenpass_kem.json"

if __name__ == "__main__":
    vectors = json.loads(VECTORS.read_text())["mceliece460896"]
    print("key", vectors["secret_key_13568"])  # noqa: T201
    for form in ("ct188", "ct156"):
        for case in [vectors[form], *vectors[f"{form}_rejected"]]:
            print("open", case["ct"], case["ss"])  # noqa: T201
