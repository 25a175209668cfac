"""data.python_crawl and data.text_files: deterministic, held-out units apart, nothing of the machine in the pages."""

import json
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path

import pytest
import tld
from fastwarc.warc import ArchiveIterator
from small_crawl import read_crawl

from arriero.artifacts import Inputs, Machine, StageContext
from arriero.artifacts.files import read_jsonl, tree_digest
from arriero.config import parse
from arriero.data import package_pages, pydoc_process, python_crawl, stdlib, text_files
from arriero.data.pydoc_process import PydocProcess
from arriero.data.python_crawl import LANGUAGE, PythonCrawlConfig
from arriero.data.sources import SourceKind, document_id, heldout_modules, read_heldout, read_sources
from arriero.data.text_files import TextFilesConfig
from arriero.data.warc import MODULE_HEADER
from arriero.errors import ConfigError, InputError
from arriero.pipeline.plan import stage_id

SMALL = PythonCrawlConfig(web_bytes=200_000, reference_bytes=150_000, code_bytes=300_000, heldout_bytes=60_000)


def crawl(folder: Path, cfg: PythonCrawlConfig = SMALL) -> Path:
    folder.mkdir()
    python_crawl.run(cfg, Inputs({}), StageContext(out=folder, scratch=folder / "scratch", machine=Machine()))
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return crawl(tmp_path_factory.mktemp("crawl") / "out")


def warc_records(folder: Path) -> list[tuple[str, str, str]]:
    with (folder / "web.warc.gz").open("rb") as file:
        return [
            (r.headers["WARC-Target-URI"], r.headers[MODULE_HEADER], r.reader.read().decode())
            for r in ArchiveIterator(file, verify_digests=True)
        ]


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    return [row for _, row in read_jsonl(folder / name)]


def test_two_runs_give_equal_bytes(small: Path, tmp_path: Path) -> None:
    assert tree_digest(crawl(tmp_path / "again")) == tree_digest(small)


def test_another_seed_takes_other_documents(small: Path, tmp_path: Path) -> None:
    other = PythonCrawlConfig(**{**vars(SMALL), "seed": 1})
    assert tree_digest(crawl(tmp_path / "other", other)) != tree_digest(small)


def test_the_warc_reads_back_as_the_manifest_says(small: Path) -> None:
    records = warc_records(small)
    web = next(source for source in read_sources(small) if source.kind is SourceKind.WEB)
    assert web.documents == len(records) > 10
    assert web.bytes == sum(len(html.encode()) for _, _, html in records)
    assert len({url for url, _, _ in records}) == len(records)
    assert all("<nav" in html and "<footer>" in html for _, _, html in records)


def test_every_source_states_its_licences_and_size(small: Path) -> None:
    for source in read_sources(small)[1:]:
        listed = rows(small, source.file)
        assert source.documents == len(listed) == sum(source.licences.values())
        assert source.bytes == sum(len(row["text"].encode()) for row in listed)
        assert source.licences == {"PSF-2.0": len(listed)}
        assert all(row["id"] == document_id(row["url"], row["text"]) for row in listed)


def test_caps_hold_on_both_sides_of_the_split(small: Path) -> None:
    heldout = set(read_heldout(small))
    for name, cap in (("reference.jsonl", SMALL.reference_bytes), ("code.jsonl", SMALL.code_bytes)):
        sides = {True: 0, False: 0}
        for row in rows(small, name):
            sides[row["module"] in heldout] += len(row["text"].encode())
        assert 0 < sides[True] <= SMALL.heldout_bytes
        assert cap / 2 < sides[False] <= cap


def test_a_unit_holds_all_that_speaks_of_a_module() -> None:
    assert {stdlib.unit(name) for name in ("json", "json.decoder", "_json")} == {"json"}
    assert stdlib.dotted_name(Path("_pydecimal.py")) == "decimal"
    assert stdlib.dotted_name(Path("email/__init__.py")) == "email"
    units = [stdlib.unit(file.module) for file in stdlib.files()]
    held = heldout_modules(units, 3, 0.2)
    assert held == heldout_modules(reversed(units), 3, 0.2)  # the order of the names decides nothing
    assert set(held) <= set(heldout_modules([*units, "another"], 3, 0.2))  # nor do other names
    assert 0.1 < len(held) / len(set(units)) < 0.3
    assert LANGUAGE not in heldout_modules(units, 0, 0.99)


def test_the_library_is_without_tests_and_build_settings() -> None:
    names = {file.relative for file in stdlib.files()}
    assert {"shutil.py", "email/message.py", "json/decoder.py"} <= names
    assert not [n for n in names if n.startswith(("test/", "idlelib/", "site-packages/", "lib2to3/", "_sysconfigdata"))]
    assert not names & {"antigravity.py", "this.py"}


def test_pages_hold_nothing_of_the_machine() -> None:
    with PydocProcess() as pydoc:
        pages = {name: pydoc.page(name) for name in ("sys", "os", "threading", "functools", "no_such_module")}
    assert pages.pop("no_such_module") is None
    for html in pages.values():
        assert html is not None
        for trace in (sys.prefix, sys.base_prefix, str(Path.home()), "0x7", "site-packages", "PYTHONHASHSEED"):
            assert trace not in html, trace
    assert "Return" in str(pages["functools"])


def test_pages_cannot_import_third_party_packages() -> None:
    with PydocProcess() as pydoc:
        assert pydoc.page("numpy") is None
        assert pydoc.page("shutil") is not None


def test_the_process_gets_the_loaders_variables_and_no_page_shows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere/lib")
    monkeypatch.setenv("SECRET", "/nowhere/else")
    with PydocProcess() as pydoc:
        assert "/nowhere" not in str(pydoc.page("os")) + str(pydoc.page("sys"))
    script = tmp_path / "script.py"
    script.write_text("import json, os; input(); print(json.dumps(' '.join(sorted(os.environ))))")
    monkeypatch.setattr(pydoc_process, "SCRIPT", script)
    with PydocProcess() as pydoc:
        names = str(pydoc.page("os")).split()
    assert "LD_LIBRARY_PATH" in names
    assert "SECRET" not in names


@pytest.mark.parametrize("script", ["input(); raise SystemExit('out of ' + 'luck')", "raise SystemExit('out of luck')"])
def test_a_process_that_ends_leaves_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    (tmp_path / "script.py").write_text(script)
    monkeypatch.setattr(pydoc_process, "SCRIPT", tmp_path / "script.py")
    with PydocProcess() as pydoc, pytest.raises(InputError, match="ended at the module 'os': out of luck"):
        pydoc.page("os")


def test_no_package_is_imported_to_be_described() -> None:
    # The library's pages are made by a process that has no third-party packages at all (above).
    code = (
        "import sys; from arriero.data import package_pages as p, python_crawl\n"
        "described = [p.canonical(d.metadata['Name']) for d in p.required_distributions() if p.package_pages(d)]\n"
        "print(*described); print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    described, imported = (set(line.replace("-", "_").split()) for line in done.stdout.splitlines())
    assert {"numpy", "torch", "matplotlib"} <= described
    # What the stage itself works with.
    used = {"annotated_types", "docutils", "markdown_it", "mdurl", "packaging", "pydantic", "pydantic_core", "six"}
    used |= {"tqdm", "typing_extensions", "typing_inspection", "warcio", "brotli", "fsspec"}
    assert imported & described <= used


def test_each_package_has_a_registrable_domain_of_its_own(small: Path) -> None:
    for url, module, _ in warc_records(small):
        host = url.split("/")[2]
        assert tld.get_fld(url, fail_silently=True) is None  # reserved: nobody's real site
        assert ".".join(host.split(".")[-2:]) == host
        assert host == "python.example" or host == f"{module}.example"


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n", "text/markdown", "<td>1</td>"),
        ("Title\n=====\n\nSome *words* here.\n", "text/x-rst", "<em>words</em>"),
        ("Title\n=====\n\nSome *words* here.\n", "", "<em>words</em>"),
        ("a < b", "text/plain; charset=utf-8", "a &lt; b"),
    ],
)
def test_descriptions_are_rendered_by_their_type(text: str, kind: str, expected: str) -> None:
    assert expected in package_pages.render(text, kind)


def test_rest_descriptions_read_no_files_and_pass_nothing_raw(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the-secret-words")
    raw = ".. raw:: html\n\n   <b>the-raw-words</b>\n"
    text = f"Title\n=====\n\n.. include:: {secret}\n\n{raw}\n.. csv-table::\n   :file: {secret}\n"
    html = package_pages.render(text, "text/x-rst")
    assert "the-secret-words" not in html
    assert "<b>the-raw-words</b>" not in html


def test_only_required_packages_count_not_what_tests_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def install(name: str, *requires: str) -> None:
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1", *(f"Requires-Dist: {r}" for r in requires)]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")

    install("root-pkg", "needed_one>=1", 'tester; extra == "test"', 'elsewhere; sys_platform == "nowhere"')
    install("needed_one", "Deep.Two[fast]", "not_installed", "nvidia-cublas-cu12")
    install("deep-two", 'speedup; extra == "fast"', 'slow; extra == "slow"')
    for name in ("tester", "elsewhere", "speedup", "slow", "nvidia_cublas_cu12"):  # the last: not on every machine
        install(name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    found = [package_pages.canonical(d.metadata["Name"]) for d in package_pages.required_distributions("root-pkg")]
    assert found == ["deep-two", "needed-one", "speedup"]
    assert len(package_pages.required_distributions("not-there")) == 7


def test_two_builds_of_a_version_give_one_site_and_one_digest(tmp_path: Path) -> None:
    def installed(version: str, *requires: str) -> Distribution:
        folder = tmp_path / f"t-{version}.dist-info"
        folder.mkdir()
        head = ["Metadata-Version: 2.1", "Name: t", f"Version: {version}", "Summary: Tensors, 1+1 of them"]
        (folder / "METADATA").write_text("\n".join([*head, *requires]) + "\n\nA description.\n")
        return Distribution.at(folder)

    builds = installed("2.13.0+cpu"), installed("2.13.0+cu130", "Requires-Dist: nvidia-cublas==13"), installed("2.13.1")
    cpu, cuda, newer = ((package_pages.package_pages(b), package_pages.metadata_digest(b)) for b in builds)
    assert cpu == cuda
    assert "t 2.13.0: Tensors, 1+1 of them" in cpu[0][-1].html
    assert cpu[0] != newer[0]
    assert cpu[1] != newer[1]


def test_outside_names_python_the_library_and_each_package() -> None:
    digests = python_crawl.outside(SMALL)
    assert digests["python"] == stdlib.python_version()
    assert {"standard_library", "package/numpy", "package/torch"} <= set(digests)
    assert "package/arriero" not in digests


def text_crawl(folder: Path, out: Path, **fields: object) -> dict[str, object]:
    out.mkdir()
    cfg = parse(TextFilesConfig, {"folder": str(folder), **fields}, "test")
    return text_files.run(cfg, Inputs({}), StageContext(out=out, scratch=out, machine=Machine()))


def test_text_files_become_one_document_each(tmp_path: Path) -> None:
    folder, out = tmp_path / "mine", tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("Été à la mer.\n", encoding="utf-8")
    (folder / "deep" / "b.md").write_bytes(b"\xef\xbb\xbfwith a mark")
    (folder / "empty.txt").write_text(" \n")
    (folder / ".hidden.txt").write_text("hidden")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    metrics = text_crawl(folder, out, licence="CC0-1.0")
    listed = rows(out, "text.jsonl")
    expected = [("a.txt", "Été à la mer.\n"), ("deep/b.md", "with a mark")]
    assert [(row["module"], row["text"]) for row in listed] == expected
    assert len(read_heldout(out)) == 1 == metrics["heldout_documents"]
    assert read_sources(out)[0].licences == {"CC0-1.0": 2}
    assert str(tmp_path) not in (out / "text.jsonl").read_text() + (out / "sources.json").read_text()


def test_programs_are_a_source_of_their_own_without_language(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.txt").write_text("Some words.\n")
    (folder / "b.PY").write_text("x = 1\n")
    text_crawl(folder, tmp_path / "out", heldout_share=0)
    sources = read_sources(tmp_path / "out")
    assert [(source.name, source.kind) for source in sources] == [("text", "text"), ("code", "code")]
    kinds = {row["url"]: row["kind"] for row in read_crawl(tmp_path / "out").to_pylist()}
    assert kinds == {"file:a.txt": "text", "file:b.PY": "code"}
    assert read_heldout(tmp_path / "out") == []


def test_the_digest_is_of_the_files_that_are_read(tmp_path: Path) -> None:
    """The folder may hold the runs themselves, and a virtual environment: they are neither read nor digested."""
    cfg = parse(TextFilesConfig, {"folder": str(tmp_path)}, "test")

    def write(name: str, text: str = "some text") -> str:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        return text_files.outside(cfg)["folder"]

    write("a.txt")
    before = write("deep/b.txt")
    for name in ("store/objects/x", "r/card.md"):
        assert write(f"runs/{name}") == before
    for name in ("pyvenv.cfg", "lib/x.py", "lib/licence.txt"):
        assert write(f"env/{name}") == before or name == "pyvenv.cfg"
    for name in (".hidden/c.txt", ".c.txt", "c.bin"):
        assert write(name) == before
    assert [document.module for document in text_files.read_folder(cfg)] == ["a.txt", "deep/b.txt"]
    assert len({before, write("deep/b.txt", "other text"), write("deep/c.txt", "some text")}) == 3
    # Under the field's own name it takes the place of the whole folder's digest in the stage's id.
    assert stage_id(text_files.STAGE, cfg, {}, Machine()).outside == text_files.outside(cfg)


def test_wrong_text_folders_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    with pytest.raises(InputError, match="no folder"):
        text_crawl(folder, tmp_path / "out1")
    folder.mkdir()
    (folder / "only.txt").write_text("one file")
    with pytest.raises(InputError, match=r"holds 1 file.*at least two"):
        text_crawl(folder, tmp_path / "out2")
    (folder / "bad.txt").write_bytes(b"first line\nsecond \xff\n")
    with pytest.raises(InputError, match=r"bad\.txt:2: byte 18 of the file is not UTF-8"):
        text_crawl(folder, tmp_path / "out3")
    assert not list((tmp_path / "out3").iterdir())


def test_wrong_records_and_fields_are_named(small: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file .*sources\.json"):
        read_sources(tmp_path)
    (tmp_path / "sources.json").write_text(json.dumps([{"name": "x", "kind": "song"}]))
    with pytest.raises(InputError, match="not a source record"):
        read_sources(tmp_path)
    with pytest.raises(ConfigError, match="web_bytes"):
        parse(PythonCrawlConfig, {"web_byte": 5}, "test")
