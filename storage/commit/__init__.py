"""How bytes become an artifact: staged, journalled, hashed, and committed by one rename."""
