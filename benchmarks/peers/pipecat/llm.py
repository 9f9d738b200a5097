"""The language model that a peer speaks to: ours, with our settings, in a process of its own.

Started by `processes.language_model`: the models' directory, slots and threads as arguments; on
stdout one line of JSON with its address when it has answered once; it ends when stdin does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import httpx
import xllamacpp

from pipeline.engines import llama_cpp
from pipeline.models import locate

WARM_UP_TIMEOUT_S = 60.0


def main(models_dir: Path, slots: int, threads: int) -> None:
    """Serve until nobody holds the other end of stdin."""
    engine = llama_cpp.LlamaCppLanguageModel(models_dir, slots, threads)
    # Its parameters are what "the same settings" means; a peer need not learn its key.
    params = engine._params(locate(models_dir, llama_cpp.MODEL) / llama_cpp.FILE)
    params.api_keys = []
    server = xllamacpp.Server(params)
    url = f"{server.listening_address}/v1"
    body = {"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 1}
    answer = httpx.post(
        f"{url}/chat/completions", json=body, timeout=WARM_UP_TIMEOUT_S, trust_env=False
    )
    answer.raise_for_status()
    print(json.dumps({"url": url}), flush=True)
    sys.stdin.read()
    os._exit(0)  # whoever called is gone; there is nothing to save


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
