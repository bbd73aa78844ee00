"""May this be accepted or sent: limits, relaying, simulated failures.  Plain functions."""
