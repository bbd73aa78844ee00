"""What is due, what happened, what next.  No sockets, no SQL."""
