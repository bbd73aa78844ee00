"""Peers and a real server."""
