"""The Rosenpass key exchange, usable alone.

rosenpass.standalone   Exchange: sockets, files, one callback per new key; see docs/rosenpass.md
rosenpass.server       CryptoServer: the protocol alone, for an edge of one's own
"""
