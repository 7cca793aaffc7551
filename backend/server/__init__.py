"""The HTTP face towards Label Studio: it answers, queues, waits; it never computes."""
