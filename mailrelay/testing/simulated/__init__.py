"""The parts of the simulation: world, network, peers, submitters, a node's life, promises."""
