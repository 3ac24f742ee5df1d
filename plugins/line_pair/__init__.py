"""Simulated optical inspection of line/space patterns: Abbe imaging, rough edges, camera noise, defects with exact masks."""
