"""The SMTP language: addresses, commands, replies, order, content.  No I/O, no Twisted."""
