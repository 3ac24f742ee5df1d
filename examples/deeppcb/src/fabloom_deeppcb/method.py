"""`deeppcb`: a folder of DeepPCB as labelled crops."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fabloom import Context, ImageSet, Method, Params, Source, task


class LoadParams(Params):
    """Where the pairs are, how they are cut, what counts as a defect pixel, and which pairs are wanted."""

    folder: Source = Field(description="folder of DeepPCB, or a part of it: NAME_temp.jpg, NAME_test.jpg and NAME.txt")
    crop: int = Field(128, ge=16, description="side of the square crops in pixels")
    stride: int | None = Field(None, ge=1, description="distance of crops; default: crop, no overlap")
    mask: Literal["boxes", "difference"] = Field(
        "boxes", description="boxes: all pixels of the labelled boxes; difference: those in a box that differ from the template"
    )
    threshold: int = Field(128, ge=1, le=254, description="difference: a pixel differs by more than so many grey levels")
    tolerance: int = Field(2, ge=0, le=8, description="difference: pixels that edges may have moved by between template and tested image")
    templates: bool = Field(False, description="add the crops of the templates, all clean")
    part: Literal["all", "train", "test"] = Field("all", description="which pairs; train and test share no pair and no crop")
    test_every: int = Field(4, ge=2, description="every so many pairs, in the order of their names, one belongs to test")


class DeepPcb(Method):
    """DeepPCB: 640 x 640 images of circuit boards, each with a defect-free template and labelled boxes around its defects.

    The images are nearly binary, copper black. Classes, numbered as in the files: 1 open, 2 short, 3 mousebite, 4 spur,
    5 copper, 6 pin-hole; 0 is a crop without a defect. Data: S. Tang et al., arXiv 1902.06197, under the MIT licence.
    """

    name = "deeppcb"
    preload = ("numpy", "scipy.ndimage", "PIL.Image")

    @task(version=1)
    def load(self, ctx: Context, params: LoadParams) -> ImageSet:
        """Crops uint8 [N,1,crop,crop] on a regular grid, in the order of pair, row and column, with masks, domain and labels.

        `boxes` are no pixel masks: about nine in ten of their pixels show no defect. A crop's label is the class with most mask
        pixels in it. What a previous crop shows pixel for pixel (blank board, mostly) is left out, over both parts, so that no
        test crop is among the training crops. The array `origin`, int32 [N,4], says of each crop: pair in the order of the
        names, y, x, and 1 for a template.

        Raises DataError, which names file and line, for a folder without pairs, an image or a text without its partner,
        unreadable images and other sizes, lines that are no box, boxes that leave the image, unknown classes, and a box in
        which nothing differs from the template.
        """
        from . import loading

        return loading.run(ctx, params)
