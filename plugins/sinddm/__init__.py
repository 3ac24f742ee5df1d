"""SinDDM: a multi-scale denoising diffusion model of one image."""
