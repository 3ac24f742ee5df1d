"""The task `sample`: ensembles of maps for wafers of which the layer below, logs and barcode are known."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import Model
from fabloom.method import Context
from fabloom.plugins.blocks.noise import noise_schedule
from fabloom.plugins.blocks.operations import OPERATIONS, TRAINING, counted, operations_of
from fabloom.plugins.blocks.overlay.ensembles import OverlayEnsembles
from fabloom.plugins.blocks.overlay.maps import OverlayMaps
from fabloom.plugins.blocks.streams import normal, stream

from .conditions import MODALITIES, Conditions
from .conditions import Shape as Told
from .losses import HIGHEST, LOWEST
from .material import Material, Units, unmet
from .network import Ikddit, Shape
from .params import SampleParams
from .priors import shapes
from .training import ROLE
from .walk import Prompt, Walk

NAMED = 8
"""Tools, reticles and layers that a model has not met, of which a line says so."""
SQRT2 = 2**0.5
"""Deviation of a Laplace distribution over its b."""


class Generator(nn.Module):
    """What samples: encoders and student, neither teacher nor discriminator. Raises DataError for a model of another method, or of another
    version of this one. `met` are the tools, reticles and layers of its training.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        if model.config.get("role") != ROLE:
            raise DataError(f"model {model.key[:12]} is no model of ikddit.train (role '{model.config.get('role')}')")
        try:
            self.conditions = Conditions(Told(**model.config["conditions"]))
            self.net = Ikddit(Shape(**model.config["net"]), shapes(model.config["units"]["raster"]))
            self.load_state_dict(model.state())
            self.met = model.config["met"]
        except (KeyError, TypeError, RuntimeError) as error:  # config without an entry, with one that is gone, weights of other shapes
            raise DataError(
                f"model {model.key[:12]} was written by another version of ikddit.train; run its training step again"
            ) from error
        self.eval().requires_grad_(False)

    def prompt(self, material: Material, rows: Tensor, hidden: Tensor, device: torch.device) -> Prompt:
        """What the network is told of these rows, but for what is `hidden` [3] (bool)."""
        told = material.told.rows(rows).to(device)
        hide = hidden.to(device).expand(len(rows), -1)
        return Prompt(material.given(told, hide), self.conditions(told, hide))


def sample(ctx: Context, params: SampleParams, maps: OverlayMaps, model: Model) -> OverlayEnsembles:
    """Draw `members` maps for each wafer; member k of wafer i follows from (seed, i, k) alone, up to rounding."""
    generator, units = Generator(model), Units.inside(model.config)
    units.check(maps, model)
    drawing = Drawing(ctx, params, generator.to(ctx.device), Material.of(maps, units))
    count = min(len(maps), params.wafers or len(maps))
    strange = unmet(maps.barcodes[:count], generator.met)
    if strange:
        some = ", ".join(f"{name} ({wafers:,} wafer{'s' * (wafers > 1)})" for name, wafers in islice(strange.items(), NAMED))
        more = f" and {len(strange) - NAMED} more" * (len(strange) > NAMED)
        ctx.log(f"barcodes name what the model has not met, and their maps err more: {some}{more}")
    for log, told in islice(units.beyond(maps.logs[:count], maps.logged[:count]).items(), NAMED):
        ctx.log(f"log {log} lies far from what the model has met and is cut off there; in another unit, or wrong? {told}")
    total = count * params.members
    rows = np.repeat(np.arange(count), params.members)
    valid = maps.valid[:count].astype(bool)[rows]
    values, sigma = (np.empty((total, *maps.values.shape[1:]), dtype) for dtype in (np.float32, np.float16))
    operations = 0
    with ctx.progress(total, unit="map", name="sample") as bar:
        for start in range(0, total, params.batch):
            numbers = range(start, min(start + params.batch, total))
            if start:
                x0, log_b = drawing.maps(numbers)
            else:
                (x0, log_b), operations = drawing.counted(numbers)
                operations //= len(numbers)
            part = slice(numbers.start, numbers.stop)
            values[part] = (x0 * units.current).cpu().numpy()
            sigma[part] = (SQRT2 * units.current * log_b.clamp(LOWEST, HIGHEST).exp()).cpu().numpy() * valid[part, None]
            bar.advance(len(numbers))
    return OverlayEnsembles.write_ensembles(
        ctx,
        values,
        sigma=sigma,
        valid=valid,
        members=params.members,
        barcodes=maps.barcodes[:count],
        raster=maps.raster,
        **maps.origins(rows),
        attrs={
            "method": ROLE,
            "of": maps.key,
            "unmet": strange,
            "settings": params.model_dump(mode="json"),
            OPERATIONS: operations,
            TRAINING: operations_of(model.config),
        },
    )


class Drawing:
    """Members by number: number i * M + k is member k of wafer i, whose noise follows from the seed, i and k."""

    def __init__(self, ctx: Context, params: SampleParams, generator: Generator, material: Material) -> None:
        self.ctx, self.params, self.generator, self.material = ctx, params, generator, material
        net = ctx.autocast(params.precision)(generator.net.forward)
        self.walk = Walk(net, noise_schedule(generator.net.shape.schedule, 1e-4, 0.02), params, generator.net.shape.tokens)
        self.seen = self.walk.seen(stream(ctx.seed, "turns"))
        self.hidden = torch.tensor([name in params.hide for name in MODALITIES])

    def counted(self, numbers: range) -> tuple[tuple[Tensor, Tensor], int]:
        """Maps, and the multiply-adds that they took."""
        return counted(lambda: self.maps(numbers))

    @torch.no_grad()
    def maps(self, numbers: range) -> tuple[Tensor, Tensor]:
        """(x0 [B,2,H,W], log b [B,2,H,W]) of these numbers, in the model's unit."""
        device, material = self.ctx.device, self.material
        which = [divmod(number, self.params.members) for number in numbers]
        rows = torch.tensor([wafer for wafer, _ in which])
        prompt = self.generator.prompt(material, rows, self.hidden, device)
        blank = None
        if self.params.guidance != 1:
            blank = self.generator.prompt(material, rows, torch.ones_like(self.hidden), device)
        streams = [stream(self.ctx.seed, f"wafer/{wafer}/{member}") for wafer, member in which]
        noise = normal(streams, tuple(material.maps.shape[1:]), device)
        seen = [None if one is None else one.to(device).expand(len(rows), -1) for one in self.seen]
        return self.walk(noise, prompt, blank, seen, material.valid[rows].to(device), lambda: self.watch(numbers.start))

    def watch(self, done: int) -> None:
        """Between the steps of a batch, each of which may take long on a CPU."""
        if self.ctx.stop_requested():
            raise Interrupted(f"stopped after {done} maps. Run the same command again to start over.")
