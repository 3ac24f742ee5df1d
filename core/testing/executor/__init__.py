"""The conformance kit of executors."""
