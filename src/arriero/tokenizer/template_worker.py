"""The process in which chat templates run: started by path, with the folders of jinja2; it imports nothing of Arriero.

A request is one JSON line, {"template", "names", "conversations": [{"messages", "add_generation_prompt"}, ...]}; the
reply is one JSON line too: {"texts": [...]}, or {"refused": what the template said}, or {"failed": why}. The process
ends with its parent (end of input), when a request takes CPU_SECONDS (the kernel ends it, in whatever C code it hangs),
and fails a request that needs more than MEMORY_BYTES. The environment is that of `transformers`' `apply_chat_template`,
but for `strftime_now`: with a date, the same dialogue would give other ids tomorrow, so it is left undefined.
"""

import contextlib
import json
import resource
import signal
import sys
from functools import lru_cache
from typing import Any, NoReturn

if __name__ == "__main__":
    sys.path += sys.argv[1:]

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_SECONDS = 0.3  # templates of released models take thousandths
MEMORY_BYTES = 1 << 28
MOST_CHARACTERS = 1 << 23


class RefusedError(Exception):
    """The template called raise_exception."""


class Generation(Extension):
    """`{% generation %}` marks answers in some templates; here it only shows its body."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


def _refuse(message: object) -> NoReturn:
    raise RefusedError(str(message))


def _tojson(value: Any, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, LoopControlExtension]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _refuse
    del environment.globals["lipsum"], environment.filters["random"]  # the same dialogue must give the same ids
    return environment


@lru_cache(maxsize=8)
def _compiled(template: str) -> jinja2.Template:
    return _environment().from_string(template)


def _render(template: jinja2.Template, variables: dict[str, Any]) -> str:
    parts, length = [], 0
    for part in template.generate(variables):
        length += len(part)
        if length > MOST_CHARACTERS:
            raise ValueError(f"it wrote more than {MOST_CHARACTERS} characters")
        parts.append(part)
    return "".join(parts)


def _answer(line: str) -> dict[str, Any]:
    try:
        request = json.loads(line)
        template = _compiled(request["template"])
        return {"texts": [_render(template, request["names"] | chat) for chat in request["conversations"]]}
    except RefusedError as error:
        return {"refused": str(error)[:500]}
    except MemoryError:
        return {"failed": "it needs too much memory"}
    except Exception as error:  # noqa: BLE001 - whatever a template can raise is a reply
        return {"failed": f"{type(error).__name__}: {error}".rstrip(".")[:500]}


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    with contextlib.suppress(ValueError, OSError):  # macOS refuses this limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for line in sys.stdin:
        # RLIMIT_CPU counts whole seconds of the process's whole life; this timer counts one request's.
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        reply = json.dumps(_answer(line))
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(reply + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
