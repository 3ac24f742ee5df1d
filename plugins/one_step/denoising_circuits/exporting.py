"""A teacher's parts and a student's one step as graphs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fabloom.errors import DataError
from fabloom.kinds import Model
from fabloom.network import Network
from fabloom.plugins.blocks.graphs import example, traceable

from .networks import Circuit, Encoder, Head
from .student import load_student
from .training import load_circuit

CPU = torch.device("cpu")
NOISE = "x_T: standard normal noise"
IMAGE = "x_0, not clipped; grey levels [low, high] of the config's `grey` are [-1, 1]"
LATENT = "latent z on the shell: mean 0 and variance 1 in every group of four channels"


class Start(nn.Module):
    """Rin at the label of pure noise."""

    def __init__(self, rin: Encoder, label: int) -> None:
        super().__init__()
        self.rin, self.label = rin, label

    def forward(self, x: Tensor) -> Tensor:
        """x_T [B,C,H,W] to z [B,L,h,w]."""
        z: Tensor = self.rin(x, torch.full((x.shape[0],), self.label))
        return z


class Readout(nn.Module):
    """X0out at label 0."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, z: Tensor) -> Tensor:
        """z [B,L,h,w] to x_0 [B,C,H,W]."""
        image: Tensor = self.head(z, torch.zeros(z.shape[0], dtype=torch.long))
        return image


def networks(model: Model) -> dict[str, Network]:
    """Of a student `one-step`, noise to image; of a teacher `start`, `step` (applied at labels T-1 down to 1) and `readout`."""
    role, image = model.config.get("role"), model.config.get("image", ())
    if role == "student":
        meaning = {"x": NOISE, "image": IMAGE}
        return {"one-step": Network(traceable(load_student(model, CPU)), {"x": example(2, *image)}, ("image",), meaning=meaning)}
    if role != "teacher":
        raise DataError(f"model {model.key[:12]} is neither teacher nor student of denoising-circuits, but '{role}'")
    return _teacher(traceable(load_circuit(model, CPU)), example(2, *image))


def _teacher(circuit: Circuit, x: Tensor) -> dict[str, Network]:
    last = circuit.config.timesteps - 1
    z = circuit.rin(x, torch.full((x.shape[0],), last))
    label = f"label t, {last} down to 1, the same for all images of a batch or not"
    return {
        "start": Network(Start(circuit.rin, last).eval(), {"x": x}, ("z",), meaning={"x": NOISE, "z": LATENT}),
        "step": Network(
            circuit.step, {"z": z, "t": torch.tensor([last, 1])}, ("next",), meaning={"z": LATENT, "t": label, "next": "z of label t - 1"}
        ),
        "readout": Network(Readout(circuit.x0_head).eval(), {"z": z}, ("image",), meaning={"z": LATENT, "image": IMAGE}),
    }
