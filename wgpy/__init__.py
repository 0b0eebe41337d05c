"""Userspace WireGuard with Rosenpass: control protocol, orchestration, command line."""
