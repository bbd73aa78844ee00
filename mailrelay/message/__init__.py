"""Messages as RFC 5322 and MIME write them: header, trace, reports.  No I/O, no Twisted."""
