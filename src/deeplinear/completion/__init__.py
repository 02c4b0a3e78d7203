"""Matrix completion with depth as the knob."""
