"""Completions compared and reported: tables, sentences, a page with pictures, the demonstration."""
