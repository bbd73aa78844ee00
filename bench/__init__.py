"""Side-by-side benchmark of mailrelay and other mail servers on one machine."""
