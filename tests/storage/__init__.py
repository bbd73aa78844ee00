"""Tests of mailrelay/storage."""
