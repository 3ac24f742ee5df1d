"""What says whether it helped: labels, segmenters, scores, tables."""
