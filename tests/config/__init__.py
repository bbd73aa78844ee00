"""Tests of mailrelay/config."""
