"""Images in one evaluation of a network."""
