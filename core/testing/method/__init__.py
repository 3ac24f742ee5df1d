"""The conformance kit of methods."""
