"""Generated from `proto/unipic/v1` by `regenerate.py`, for what the client does not wrap: raw messages and stubs."""
