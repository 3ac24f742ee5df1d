"""What `benchmarks/damage.py` damages, how, and what it holds against what is promised."""
