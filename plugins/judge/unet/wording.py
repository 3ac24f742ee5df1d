"""The scores of `evaluate` in words: what a table calls each, and the sentence that explains it."""

from __future__ import annotations

MOVED = "over the test images as they are, mirrored and shifted"

SCORES = {
    "iou": ("IoU", "overlap of the predicted and the true mask (intersection / union), mean over all test images; 1 where both are empty"),
    "iou_defect": ("IoU defect", "overlap of the predicted and the true mask (intersection / union), mean over the images with a defect"),
    "iou_pooled": ("IoU of all pixels", "intersection / union of the pixels of all test images together, so that large defects count more"),
    "iou_sd": ("IoU, spread over images", "standard deviation of the IoU from image to image"),
    "iou_defect_moved": ("IoU defect, moved too", f"IoU defect, {MOVED}"),
    "dice": ("Dice", "2 · intersection / (predicted + true pixels), mean over all test images; 1 where both are empty"),
    "dice_defect": ("Dice defect", "2 · intersection / (predicted + true pixels), mean over the images with a defect"),
    "dice_pooled": ("Dice of all pixels", "Dice of the pixels of all test images together"),
    "detection_rate": ("images with a defect: found", "share of the images with a defect in which a predicted defect touches a true one"),
    "detection_rate_moved": ("images with a defect: found, moved too", f"share of the images with a defect where it is found, {MOVED}"),
    "detection_rate_every_move": (
        "images with a defect: found however moved",
        "share of the images with a defect in which it is found as they are, mirrored each way and shifted: in all of these",
    ),
    "false_alarm_rate": ("clean images: false alarm", "share of the clean images in which a defect is predicted"),
    "false_alarm_rate_moved": ("clean images: false alarm, moved too", f"share of the clean images where a defect is predicted, {MOVED}"),
    "false_alarm_pixels": ("clean images: pixels marked", "share of the pixels of clean images that are predicted to be a defect"),
    "defect_sensitivity": ("single defects: found", "share of all true defects, several in an image perhaps, that a predicted one touches"),
    "false_alarms_per_image": ("false alarms an image", "predicted defects that touch no true one, by the number of test images"),
    "trainings": ("trainings", "networks of this predictor that were trained with different seeds; the scores are means over them"),
}  # fmt: skip
"""Name in the metrics: (label, meaning)."""


def called(score: str) -> str:
    """What a table calls a score."""
    return SCORES[score][0]
