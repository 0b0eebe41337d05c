"""Moves packets between a TUN and UDP sockets; knows nothing of handshakes."""
