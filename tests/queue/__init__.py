"""Tests of mailrelay/queue."""
