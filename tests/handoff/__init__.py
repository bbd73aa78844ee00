"""Tests of mailrelay.handoff."""
