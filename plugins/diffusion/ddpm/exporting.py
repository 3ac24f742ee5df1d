"""The U-Net as a graph, and as a folder of diffusers."""

from __future__ import annotations

import torch
from diffusers import DDPMPipeline, DDPMScheduler
from torch import Tensor, nn

from fabloom.kinds import Model
from fabloom.network import Network, Pretrained
from fabloom.plugins.blocks.codec import Codec, Decoder
from fabloom.plugins.blocks.denoisers import evaluate, load
from fabloom.plugins.blocks.dit import Dit
from fabloom.plugins.blocks.generated import shape_of
from fabloom.plugins.blocks.graphs import example, traceable

CPU = torch.device("cpu")


class Prediction(nn.Module):
    """The U-Net as a function of tensors alone."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """x [B,C,H,W], t [B] and, where the model has classes, labels [B] to a prediction [B,C,H,W]."""
        return evaluate(self.unet, x, t, labels)


def networks(model: Model) -> dict[str, Network]:
    """`unet`: one evaluation; of a model of latents also their `decoder`."""
    config = model.config
    codec = Codec.inside(model, CPU)
    inputs = {"x": example(2, *shape_of(config)), "t": torch.tensor([config["num_train_timesteps"] - 1, 0])}
    meaning = {
        "x": "noisy latent x_t" if codec else "noisy image x_t; grey levels [low, high] of the config's `grey` are [-1, 1]",
        "t": f"time, 0 (nearly clean) to {config['num_train_timesteps'] - 1}",
        "prediction": f"what the network predicts: {config['prediction_type']}",
    }
    names: list[str] = config["classes"]
    if names:
        inputs["labels"] = torch.tensor([0, len(names)])
        meaning["labels"] = f"class: {', '.join(f'{number} {name}' for number, name in enumerate(names))}, {len(names)} none"
    found = {"unet": Network(traceable(Prediction(load(model, "ddpm", CPU))).eval(), inputs, ("prediction",), meaning=meaning)}
    return found if codec is None else found | {"decoder": decoder(codec, shape_of(config))}


def decoder(codec: Codec, shape: tuple[int, ...]) -> Network:
    """Latents to images."""
    meaning = {"latent": "what the last step gives", "image": "grey levels [low, high] of the config's `grey` are [-1, 1]; not clipped"}
    return Network(traceable(Decoder(codec)).eval(), {"latent": example(2, *shape)}, ("image",), meaning=meaning)


def pretrained(model: Model) -> dict[str, Pretrained]:
    """A `DDPMPipeline`; of a model with classes, which that pipeline cannot pass on, U-Net and scheduler alone; of a model of latents with
    the autoencoder. Nothing of a transformer, which no class of diffusers holds as it is here.

    The scheduler clips the clean image at every step and starts few-step runs at the noisiest time, as `ddpm.sample` does.
    """
    config = model.config
    unet = load(model, "ddpm", CPU)
    if isinstance(unet, Dit):
        return {}
    codec = Codec.inside(model, CPU)
    scheduler = DDPMScheduler(
        num_train_timesteps=config["num_train_timesteps"],
        beta_schedule=config["schedule"],
        beta_start=config["beta_start"],
        beta_end=config["beta_end"],
        prediction_type=config["prediction_type"],
        clip_sample=codec is None,
        timestep_spacing="trailing",
    )
    if codec is not None:
        return {"unet": unet, "scheduler": scheduler, "vae": codec.pretrained()}
    return {"unet": unet, "scheduler": scheduler} if config["classes"] else {".": DDPMPipeline(unet, scheduler)}
