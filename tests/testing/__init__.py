"""Tests of mailrelay/testing."""
