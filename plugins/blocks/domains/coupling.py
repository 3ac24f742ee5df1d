"""Two domains coupled by shared noise: an image is led to noise under its own domain, and back under the other (Su et al. 2022, DDIB)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from fabloom.errors import DataError
from fabloom.kinds import Model
from fabloom.method import Context
from fabloom.plugins.blocks.denoisers import evaluate, load
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.noise import noise_schedule

from .flow import Flow
from .given import Given
from .params import Route
from .seeing import Seeing
from .translator import NAMES

ROLE = "icddm"


@dataclass(frozen=True)
class Coupling:
    """A flow of both domains, and how far into the noise one goes.

    `share` of the variance of an image's noise is drawn anew. With `random` all of it is, onto the image as it is (AnoDDPM, Wyatt et al.
    2022), instead of what its flow leads it to.
    """

    flow: Flow
    seeing: Seeing
    grey: GreyMap
    route: Route
    share: float = 0.0
    random: bool = False

    @classmethod
    def of(cls, ctx: Context, model: Model, route: Route, *, share: float = 0.0, random: bool = False) -> Self:
        """That of a model of icddm.train. Raises DataError for another, and for a way that it did not learn."""
        net, config = load(model, ROLE, ctx.device), model.config
        (first, last), told = config["times"], f"model {model.key[:12]} learned times {config['times'][0]:g} to {config['times'][1]:g}"
        if route.depth > last:
            raise DataError(f"depth={route.depth:g} leads beyond: {told}. Lower depth, or train with times: [{first:g}, {route.depth:g}]")
        if route.depth < first * route.steps:
            near = route.depth / route.steps
            raise DataError(f"steps={route.steps} to depth={route.depth:g} begin at {near:.2g}: {told}. Take fewer steps")
        if route.guidance > 1 and not config["label_dropout"]:
            raise DataError(
                f"guidance={route.guidance:g}: model {model.key[:12]} never saw an image of no domain; train with label_dropout"
            )
        schedule = noise_schedule(config["schedule"], config["beta_start"], config["beta_end"])
        network = ctx.autocast(route.precision)(lambda x, t, labels: evaluate(net, x, t, labels))
        flow = Flow(network, config["prediction_type"], schedule, len(NAMES), Given.of(model))
        return cls(flow, Seeing.of(model, ctx.device), GreyMap(*config["grey"]), route, share, random)

    @torch.no_grad()
    def translate(self, x: Tensor, source: int, targets: Sequence[int], fresh: Tensor | None = None) -> list[Tensor]:
        """As a `Translator`; `fresh` has the shape of `hidden`."""
        z = self.lead(self.seeing.inner(x), source, fresh)
        return [self.seeing.outer(self.back(z, target)) for target in targets]

    def back(self, z: Tensor, target: int) -> Tensor:
        """Out of the noise under a domain, as the network sees it."""
        return self.flow.decode(z, target, self.route.depth, self.route.steps, self.route.guidance)

    def lead(self, y: Tensor, source: int, fresh: Tensor | None = None) -> Tensor:
        """What the network sees of images, led into the noise."""
        route = self.route
        if self.random and fresh is not None:
            return self.flow.joined(y, fresh, route.depth)
        z = self.flow.encode(y, source, route.depth, route.steps)
        if fresh is None:
            return z
        x0, noise = self.flow.split(z, source, route.depth)
        return self.flow.joined(x0, mixed(noise, fresh, self.share), route.depth)

    @property
    def given(self) -> Given:
        """What is known of the images."""
        return self.flow.given

    @property
    def draws(self) -> bool:
        """Whether chance has a part in a translation."""
        return self.random or self.share > 0

    @property
    def hidden(self) -> tuple[int, int, int]:
        """Shape of what is diffused."""
        return self.seeing.hidden


def mixed(noise: Tensor, fresh: Tensor, share: float) -> Tensor:
    """Noise of which `share` of the variance is another draw."""
    found: Tensor = (1 - share) ** 0.5 * noise + share**0.5 * fresh
    return found
