"""The application's HTTP and JSON: mox's shape under /webapi/."""
