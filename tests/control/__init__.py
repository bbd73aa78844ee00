"""Tests of mailrelay/control."""
