"""What is told of the server's work: events, mail log, metrics."""
