"""Tests of mailrelay/directory."""
