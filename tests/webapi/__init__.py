"""Tests of mailrelay/webapi."""
