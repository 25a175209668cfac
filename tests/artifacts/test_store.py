"""The store: complete or absent, checksummed, locked; units that resume."""

from pathlib import Path
from typing import Any

import pytest

from arriero.artifacts import Artifact, Machine, Manifest, StageContext, Store, run_units
from arriero.artifacts.files import read_jsonl, tree_digest, write_atomic, write_jsonl
from arriero.artifacts.lineage import lineage_lines
from arriero.errors import ArtifactError, InputError, Stopped


def make(store: Store, id: str, inputs: dict[str, dict[str, str]] | None = None, text: str = "x") -> Artifact:
    with store.work(id) as (out, _):
        write_atomic(out / "sub" / "file.txt", text)
        manifest = Manifest(id, "test.stage", "thing", {}, inputs or {}, "code", {}, {})
        return store.commit(manifest)


def test_an_artifact_is_absent_until_committed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.work("a1") as (out, scratch):
        (out / "file").write_text("half")
        (scratch / "state").write_text("s")
        assert not store.has("a1")
    with store.work("a1") as (out, scratch):
        assert (out / "file").read_text() == "half", "a second try finds the first one's files"
        store.commit(Manifest("a1", "s", "k", {}, {}, "c", {}, {}))
    assert store.complete("a1")
    assert not (store.working / "a1").exists()
    assert set(store.artifact("a1").manifest.files) == {"file"}


def test_damage_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = make(store, "a1")
    store.verify("a1")
    (artifact.path / "sub" / "file.txt").write_text("y")
    assert store.complete("a1")
    with pytest.raises(ArtifactError, match="damaged"):
        store.verify("a1")
    (artifact.path / "sub" / "file.txt").write_text("longer")
    assert not store.complete("a1")
    (artifact.path / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        store.artifact("a1")


def test_two_processes_do_not_make_the_same_artifact(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.work("a1"), pytest.raises(ArtifactError, match="Another process"), store.work("a1"):
        pass


def test_find_wants_exactly_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make(store, "abc1")
    make(store, "abd2")
    assert store.find("abc").id == "abc1"
    for prefix in ("ab", "zz"):
        with pytest.raises(ArtifactError, match="start"):
            store.find(prefix)


def test_lineage_names_every_ancestor(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make(store, "root")
    make(store, "left", {"base": {"r": "root"}})
    make(store, "right", {"base": {"r": "root"}})
    make(store, "top", {"a": {"l": "left"}, "b": {"r": "right"}})
    lines = lineage_lines(store, "top", {"top": "final"})
    assert lines[0].startswith("final")
    assert sum("root" in line for line in lines) == 2


def test_units_resume_where_they_stopped_and_give_the_same_bytes(tmp_path: Path) -> None:
    def context(name: str, stop_after: int | None = None) -> StageContext:
        folder = tmp_path / name
        (folder / "out").mkdir(parents=True, exist_ok=True)
        return StageContext(
            folder / "out",
            folder / "scratch",
            Machine(),
            stop_requested=lambda: stop_after is not None and len(calls) >= stop_after,
        )

    def work(index: int, unit: str) -> list[dict[str, Any]]:
        calls.append(index)
        return [{"index": index, "unit": unit, "part": part} for part in range(index % 3)]

    units = list("abcdefg")
    calls: list[int] = []
    whole = run_units(context("whole"), "rows", units, work).read_bytes()
    calls = []
    with pytest.raises(Stopped):
        run_units(context("broken", stop_after=3), "rows", units, work)
    assert calls == [0, 1, 2]
    assert run_units(context("broken"), "rows", units, work).read_bytes() == whole
    assert calls == [0, 1, 2, 3, 4, 5, 6]


def test_jsonl_errors_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n\n{"a": "\xff"}\n')
    with pytest.raises(InputError, match=r"rows\.jsonl:3: .*not UTF-8"):
        list(read_jsonl(path))
    path.write_text('{"a": 1}\n{"a"')
    with pytest.raises(InputError, match=r"rows\.jsonl:2: not JSON"):
        list(read_jsonl(path))
    path.write_text(r'{"a": "\ud83d\ude00"}' + "\n" + r'{"a": ["so \ud83d"]}' + "\n")
    with pytest.raises(InputError, match=r"rows\.jsonl:2: half a character .* near .*so .*Delete the half"):
        list(read_jsonl(path))
    with pytest.raises(InputError, match="no file"):
        list(read_jsonl(tmp_path / "absent"))


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"a": 1}])
    with pytest.raises(TypeError):
        write_jsonl(path, [{"a": 2}, {"b": object()}])
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_jsonl(path, [{"a": 2}])
    assert [row for _, row in read_jsonl(path)] == [{"a": 1}]
    assert list(tmp_path.iterdir()) == [path]


def test_tree_digest_sees_names_and_contents(tmp_path: Path) -> None:
    for name, text in (("one", "1"), ("two", "1"), ("three", "2")):
        write_atomic(tmp_path / name / "file", text)
    assert tree_digest(tmp_path / "one") == tree_digest(tmp_path / "two") != tree_digest(tmp_path / "three")
    with pytest.raises(InputError):
        tree_digest(tmp_path / "absent")
