"""`unet`: a defect segmenter, trained on labelled images and scored on a held-out set."""
