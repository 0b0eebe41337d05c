"""What `up` does to the host around a WireGuard device, and undoing it: wg-quick's job, step by step."""
