"""The Rosenpass key exchange, usable alone."""
