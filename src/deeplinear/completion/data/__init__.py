"""From what users have to checked, compressed observed entries."""
