"""Who answers a path that is not relayed."""
