"""`ddpm`: the ordinary diffusion model on diffusers, as a teacher, a base, or something to compare with."""
