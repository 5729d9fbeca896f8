"""What the relay says about itself: one JSON line a request, one page of metrics."""
