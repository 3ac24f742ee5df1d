"""A kind of somebody else's, from its class alone: no file of core, storage or flows knows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

import fabloom
from fabloom import Artifact, Context, Method, Params, Report, RowSpec, hookimpl, task
from fabloom.errors import DataError
from fabloom.flows.export.job import export_artifact
from fabloom.registry import Origin, Registry
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.verify import verify
from fabloom.testing import MemoryStore, run_task


class Spectra(Artifact):
    """Spectra float32 [N,S] over wavelengths float64 [S] in nm."""

    @property
    def wavelengths(self) -> Any:
        """float64 [S], nm."""
        return self.array("wavelengths")

    @classmethod
    def write(cls, ctx: Any, values: np.ndarray, wavelengths: np.ndarray) -> Self:
        """Raises DataError for lengths that differ."""
        if values.shape[1] != len(wavelengths):
            raise DataError(f"{values.shape[1]} values for {len(wavelengths)} wavelengths")
        writer = ctx.staging.rows(len(values), 16, {"values": RowSpec("float32", values.shape[1:], dims=("wavelength",))})
        writer.append({"values": values})
        writer.close()
        ctx.staging.put("wavelengths", wavelengths)
        ctx.staging.attrs["unit"] = "nm"
        return cls(ctx.staging.as_reader())


class SpectraParams(Params):
    count: int = 40
    bands: int = 9


class Ellipsometer(Method):
    """Makes and sums up spectra."""

    name = "ellipsometer"

    @task(version=1)
    def measure(self, ctx: Context, params: SpectraParams) -> Spectra:
        values = np.random.default_rng(ctx.seed).normal(1, 0.1, (params.count, params.bands)).astype(np.float32)
        return Spectra.write(ctx, values, np.linspace(400, 800, params.bands))

    @task(version=1)
    def smooth(self, ctx: Context, params: Params, *, spectra: Spectra) -> Spectra:
        values = spectra.array("values")[...]
        return Spectra.write(ctx, np.maximum(values, 1), spectra.wavelengths[...])

    @task(version=1)
    def report(self, ctx: Context, params: Params, *, spectra: Spectra) -> Report:
        return Report.write(ctx, {"mean": float(spectra.array("values")[...].mean())})


class Plugin:
    @hookimpl
    def fabloom_methods(self) -> list[type[Method]]:
        return [Ellipsometer]

    @hookimpl
    def fabloom_kinds(self) -> list[type[Artifact]]:
        return [Spectra]


PIPELINE = {
    "name": "optics",
    "seed": 3,
    "steps": {
        "raw": {"task": "ellipsometer.measure"},
        "flat": {"task": "ellipsometer.smooth", "inputs": {"spectra": "raw"}},
        "told": {"task": "ellipsometer.report", "inputs": {"spectra": "flat"}},
    },
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    registry = Registry.load()
    registry.register(Plugin(), Origin("optics", "optics-dist", "1.0"))
    return registry


@pytest.fixture(scope="module")
def ran(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fabloom.run(PIPELINE, store=tmp_path_factory.mktemp("optics") / "store", registry=registry)


@pytest.fixture
def store(ran: Any, registry: Registry) -> LocalStore:
    opened = fabloom.open_store(ran.report_path.parent.parent, registry)
    assert isinstance(opened, LocalStore)
    return opened


def test_it_runs_and_is_read_back(ran: Any, store: LocalStore, registry: Registry) -> None:
    assert [result.status for result in ran.steps] == ["ran"] * 3 and ran.exit_code == 0
    raw = store.get(ran.steps[0].key)
    assert type(raw) is Spectra and raw.kind == "Spectra" and raw.attrs == {"unit": "nm"} and raw.wavelengths[0] == 400
    again = fabloom.run(PIPELINE, store=store, registry=registry)
    assert [result.status for result in again.steps] == ["reused"] * 3
    assert "Spectra" in ran.report_path.read_text(encoding="utf-8")


def test_it_is_listed_verified_exported_and_has_a_lineage(ran: Any, store: LocalStore, registry: Registry, tmp_path: Path) -> None:
    raw, flat, told = (result.key for result in ran.steps)
    manifests = {key: store.manifest(key) for key in store.keys()}
    assert {key for key, manifest in manifests.items() if manifest["kind"] == "Spectra"} == {raw, flat}
    assert manifests[raw]["arrays"]["values"] == {"shape": [40, 9], "dtype": "float32"}
    walked = store.lineage(told)
    assert [(key, manifest["kind"]) for key, manifest in walked.items()] == [(told, "Report"), (flat, "Spectra"), (raw, "Spectra")]
    assert verify(store).problems == {} and verify(store).checked == 3
    assert "data.zarr/zarr.json" in export_artifact(store, raw, tmp_path / "out", registry=registry)


def test_it_works_in_memory() -> None:
    memory = MemoryStore()
    raw = run_task(memory, Ellipsometer, "measure", {"count": 3})
    flat = run_task(memory, Ellipsometer, "smooth", inputs={"spectra": raw})
    assert type(flat) is Spectra and flat.array("values")[...].min() == 1
