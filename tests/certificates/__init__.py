"""Tests of mailrelay/certificates."""
