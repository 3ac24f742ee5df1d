"""The engine: from a plan to committed artifacts."""
