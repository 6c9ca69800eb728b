"""The library and the command: what `pip install captioner` puts on a machine."""
