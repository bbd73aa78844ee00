"""The composition root, the only wiring: settings into a server, or into what commands ask."""
