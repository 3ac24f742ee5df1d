"""What `fuzz.py` tries: a world to break, and the cases by kind."""
