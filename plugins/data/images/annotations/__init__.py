"""Annotations of tools: what COCO, LabelMe, CVAT, VOC and KLARF say about images, and shapes as pixels."""
