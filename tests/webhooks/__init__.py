"""Tests of mailrelay/webhooks."""
