"""Tests of mailrelay/mailauth."""
