"""The ``mailrelay`` command, a module per noun."""
