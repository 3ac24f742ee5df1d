"""The reference pages, written from the code. Each module gives pages as text; `docs/generate.py` writes or checks them."""
