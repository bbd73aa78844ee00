"""Tests of mailrelay/message."""
