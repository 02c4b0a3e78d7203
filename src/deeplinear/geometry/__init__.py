"""The metric g^N at a point: kernel, operator, their derivatives, volume, curvature, geodesics."""
