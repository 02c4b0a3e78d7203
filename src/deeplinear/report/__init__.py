"""Completions compared and told: tables, sentences, a page with pictures, the demonstration."""
