"""Tests of mailrelay/net."""
