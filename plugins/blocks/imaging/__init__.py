"""Simulated optical images of a structure: Abbe imaging, camera, shapes, and pictures with one defect and its exact mask.

A method brings a `Structure` (its pattern without and with a defect) and parameters that extend `Simulation`; `sets.simulate` does
the rest. `params` imports nothing heavy.
"""
