"""Tests of mailrelay/outbound."""
