"""Tests of mailrelay/routing."""
