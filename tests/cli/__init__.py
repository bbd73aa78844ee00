"""Tests of mailrelay/cli."""
