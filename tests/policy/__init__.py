"""Tests of mailrelay/policy."""
