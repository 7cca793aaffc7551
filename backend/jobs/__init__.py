"""What a job is, how it is queued, who does it."""
