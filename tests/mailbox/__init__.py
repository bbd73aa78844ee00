"""Tests of mailrelay/mailbox."""
