"""Tests of mailrelay/inbound."""
