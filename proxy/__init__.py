"""Homeport: a reverse proxy for the OpenAI API with explicit, explainable fallback chains per assistant."""

__version__ = "0.1.0"
