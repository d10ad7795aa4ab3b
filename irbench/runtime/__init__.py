"""Where and how irbench computes: the machine, the cache, the timer, progress."""
