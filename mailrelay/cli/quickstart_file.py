"""The configuration that ``mailrelay quickstart`` writes, with what it leaves as it is."""

from __future__ import annotations

TEMPLATE = """\
# mailrelay for {domain}.  Look at it after a change: mailrelay check-config {file}
# What is commented out shows the default.  Relative paths are below this file's directory.
# Domains, accounts and addresses are not here: mailrelay domain|account|address --help

hostname = "{hostname}"         # in greetings and trace; its address should name it in reverse
data_dir = "{data}"                    # database, spool and keys; only the server's user enters
{run_as}
# allow_root = false               # stay root when started as root
# node = "main"                    # this process's name among those that share a database
# trusted_networks = []            # may relay without login, such as ["192.0.2.0/24"]
# stop_grace = 20.0                # seconds that transactions under way get at a stop

# Mail from other servers.
[[listener]]
role = "mx"
endpoint = "tcp:25"
judge = true                       # by SPF, DKIM and DMARC, while the sender waits
# on_dmarc_failure = "reject"      # as its domain asks; or "quarantine" (Junk), "report"
# on_spf_failure = "report"
# proxy_protocol = false           # expect a PROXY header first; only behind a proxy

# Mail from your people and programs, who log in: STARTTLS, and TLS from the first byte.
[[listener]]
role = "submission"
endpoint = "tcp:587"
# hide_submitters = true           # keep their addresses out of the Received field
# repair_newlines = false          # make bare CR and LF in content CRLF, do not refuse them

[[listener]]
role = "submissions"
endpoint = "tcp:465"

# /healthz, /metrics and the webapi in clear, for this machine only.
[[listener]]
role = "http"
endpoint = "tcp:8080:interface=127.0.0.1"
monitoring = true
webapi = true

# The webapi for your applications, who log in as people do; and the pages.
[[listener]]
role = "https"
endpoint = "tcp:443"
webapi = true
pages = true
autoconfig = true                  # mail programs are told how to send

[tls]
certificate = "{data}/{certificate}"     # self-signed: put one here that others believe
private_key = "{data}/{private_key}"

# Or have the server order one, from Let's Encrypt if nothing else is said, and renew it.
{acme}[acme]
{acme}terms_agreed = true              # that you agree to the authority's terms
{acme}contact = "{address}"

[storage]
# url = "sqlite:///mailrelay.db"   # or postgresql+psycopg://USER@HOST/DATABASE
# min_free_bytes = 67108864        # with less room on the disk, mail is answered 452 4.3.1

# Send everything through another server instead of to MX hosts.
# [relay_host]
# host = "smtp.example.net"
# port = 587                       # 465 implies TLS from the first byte
# tls = "verify"                   # none, may, encrypt or verify
# username = "user"
# password_file = "relay-password" # its first line

# The first route that fits a recipient's domain decides, before [relay_host].
# [[route]]
# domain = ".example.com"          # those below it; a domain itself, or *
# mx = true                        # or discard = true, or relay_host = {{ host = "..." }}

[limits]
# message_bytes = 104857600        # 552 5.3.4
# recipients = 1000                # 452 4.5.3
# connections = 10000              # 421 4.7.0
# connections_per_address = 100    # 421 4.7.0; IPv6 by /64
# errors = 20                      # 421 4.7.0
# idle_after = 300.0               # seconds; 421 4.4.2
# received_fields = 50             # 554 5.4.6

# The first message of a sender whom an account does not know waits: docs/incoming.md.
[first_time_senders]
delay = 15.0                       # seconds; 0 for none

# Lists of addresses in DNS, greylisting, limits, rspamd: [dnsbl] and others in that page.

[queue]
# retry_profile = "default"        # or "mox"
# first_retry_after = 450.0        # seconds; doubles each time
# longest_retry_after = 14400.0
# give_up_after = 432000.0
# delay_dsn_after = 7200.0         # when the sender is told that it takes long
# concurrency_per_destination = 10
# recipients_per_attempt = 100
# retired_keep_after = 259200.0    # how long what is done stays visible

[login]
# failures_per_minute = 10         # from one address
# failures_per_day = 50
# account_failures_per_hour = 100  # from addresses where it never succeeded

[dns]
# nameservers = []                 # the system's when empty
# timeout = 10.0
{addresses}
# validating = false               # nameservers are ours and check DNSSEC: then DANE is obeyed

[smtp_out]
mta_sts = true                     # what other domains publish about TLS is obeyed
# ehlo_name = ""                   # hostname when empty
# source_ipv4 = ""                 # address to connect from
# source_ipv6 = ""
# ipv6 = true
# mx_tls = "may"                   # none, may, encrypt or verify
# command_timeout = 300.0
# connect_timeout = 30.0

[log]
# mail_log = "-"                   # a file, - for standard output, empty for none
# format = "human"                 # or "json"
# file = ""                        # the log's own; - for standard output
# level = "info"                   # debug, info, warn, error or critical
"""
