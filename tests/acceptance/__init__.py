"""Tests of mailrelay/acceptance."""
