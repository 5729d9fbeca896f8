"""The configured accounts at providers: what they are, which of them serve a request, and how they fare."""
