"""relay_trio: an LLM API relay in which one request is one nursery."""

__version__ = "0.1.0"
