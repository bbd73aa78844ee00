"""Reports of mail and of TLS between servers: made, sent, read and summed up."""
