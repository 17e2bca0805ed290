"""What `delivery` runs: a producer, subscribers, and the least that can be done instead."""
