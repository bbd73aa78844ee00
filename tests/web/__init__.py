"""Tests of mailrelay/web."""
