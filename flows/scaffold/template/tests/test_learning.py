"""Conformance says that the method keeps its promises, not that it learns: that is for you to show, against a control."""

from __future__ import annotations

from my_weave.method import MyWeave

from fabloom import ImageSet
from fabloom.testing import MemoryStore, run_task, tiny_images, write_artifact


def distance(images: ImageSet, target: ImageSet) -> float:
    """Mean absolute difference of the mean images, in grey levels."""
    return float(abs(images.images[:].mean(0) - target.images[:].mean(0)).mean())


def test_samples_come_near_the_images_and_only_after_training(fabloom_memory_store: MemoryStore) -> None:
    store = fabloom_memory_store
    target = write_artifact(store, tiny_images)
    found = {}
    for steps in (1, 200):
        model = run_task(store, MyWeave, "train", {"steps": steps, "width": 16}, inputs={"images": target})
        samples = run_task(store, MyWeave, "sample", {"count": 8}, inputs={"model": model})
        assert isinstance(samples, ImageSet) and isinstance(target, ImageSet)
        found[steps] = distance(samples, target)
    assert found[200] < 0.5 * found[1], found
