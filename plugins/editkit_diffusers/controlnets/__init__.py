"""ControlNets by the network that they steer (Zhang et al., arXiv 2302.05543)."""
