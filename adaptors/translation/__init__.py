"""From one format to another, through values that are none of them: requests, whole answers and streams."""
