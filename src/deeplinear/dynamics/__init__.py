"""Motion under the metric: gradient flows, Langevin equations, ensembles of flows."""
