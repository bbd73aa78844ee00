"""Tests of mailrelay/service."""
