"""Real defects cut out of their images: which clean image each is held against, what it changes, and where else it fits.

`cutting.cut_out` goes from a set to the pieces and the clean images, `places.Places` finds where a piece fits on a clean image. `params`
imports nothing heavy.
"""
