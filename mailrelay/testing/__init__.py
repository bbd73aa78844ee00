"""Shipped helpers for tests: fakes, a scripted server, a simulation, a whole server on loopback."""
