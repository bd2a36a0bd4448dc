"""Models of frameworks become Networks and Recordings."""
