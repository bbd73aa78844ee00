"""Tests of mailrelay/smtp."""
