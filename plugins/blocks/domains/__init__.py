"""Images with a defect and images without one, as two domains between which one translates."""
