"""From a pipeline to a plan: everything is known before anything runs."""
