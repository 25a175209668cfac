"""Artifacts: manifests, the atomic store, lineage, and what a stage is."""

from arriero.artifacts.stage import Input, Inputs, Machine, Progress, Stage, StageContext, run_units
from arriero.artifacts.store import Artifact, Manifest, Store

__all__ = [
    "Artifact",
    "Input",
    "Inputs",
    "Machine",
    "Manifest",
    "Progress",
    "Stage",
    "StageContext",
    "Store",
    "run_units",
]
