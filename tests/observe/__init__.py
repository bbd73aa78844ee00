"""Tests of mailrelay/observe."""
