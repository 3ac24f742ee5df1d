"""Simulated images of a structure: pictures with one defect and its exact mask, and the optics that most of them are taken with.

`stage` and `sets` know no tool: a `Stage` brings views of a pattern and a noise. `scene` is the stage of Abbe imaging and a camera: a
method brings a `Structure` (its pattern without and with a defect) and parameters that extend `Simulation`. `params` imports nothing
heavy.
"""
