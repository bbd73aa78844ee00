"""Mail between servers over HTTPS: both roles of mailrelay/1, and of Zotonic's relay."""
