"""A Gaussian field around the network: what neighbours in a graph over the rows tell of a cell."""
