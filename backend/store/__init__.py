"""What is kept in Redis: bytes in, bytes out."""
