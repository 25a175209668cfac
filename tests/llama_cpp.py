"""llama.cpp, the real one, as a server in this process."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class LlamaCpp:
    """A model that llama.cpp serves. Nothing here adds or parses control tokens unless asked to."""

    def __init__(self, address: str) -> None:
        self._address = address

    def post(self, route: str, **body: Any) -> Any:
        request = urllib.request.Request(
            self._address + route, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=300) as reply:
            return json.load(reply)

    def properties(self) -> dict[str, Any]:
        with urllib.request.urlopen(self._address + "/props", timeout=300) as reply:
            found: dict[str, Any] = json.load(reply)
        return found

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        ids: list[int] = self.post("/tokenize", content=text, add_special=add_special, parse_special=parse_special)[
            "tokens"
        ]
        return ids

    def greedy(self, prompt: list[int], count: int) -> list[int]:
        """At most `count` tokens; a token that ends an answer ends them."""
        ids: list[int] = self.post("/completion", prompt=prompt, n_predict=count, **_GREEDY)["tokens"]
        return ids

    def log_probabilities(self, prompt: list[int], vocab_size: int) -> list[float]:
        """Of each token to come next."""
        found = self.post("/completion", prompt=prompt, n_predict=1, n_probs=vocab_size, **_GREEDY)
        told = {entry["id"]: entry["logprob"] for entry in found["completion_probabilities"][0]["top_logprobs"]}
        return [told[token] for token in range(vocab_size)]

    def chat(self, messages: list[dict[str, str]], count: int) -> dict[str, Any]:
        """The first choice of the OpenAI route: through the file's own chat template."""
        reply = self.post("/v1/chat/completions", messages=messages, max_tokens=count, **_GREEDY)
        choice: dict[str, Any] = reply["choices"][0] | {"usage": reply["usage"]}
        return choice


_GREEDY = {"temperature": 0, "top_k": 1, "seed": 0, "cache_prompt": False, "return_tokens": True}


@contextmanager
def llama_cpp(path: Path, context: int = 256) -> Iterator[LlamaCpp]:
    """Serves a GGUF file with one thread and float32 caches, for as long as the block runs."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="needs the package xllamacpp (llama.cpp)")
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity, params.use_jinja = context, 1, False, 0, True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED  # which rounds to float16
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    server = xllamacpp.Server(params)
    try:
        yield LlamaCpp(server.listening_address)
    finally:
        del server
