"""Tests of mailrelay/reporting."""
