"""Haraka from npm, with two workers."""

import shutil
from pathlib import Path

from bench.servers.base import Server, cache_directory, count_files

PLUGIN = """\
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const folder = process.env.BENCH_STORE;

exports.hook_lookup_rdns = (next) => next(OK, 'localhost');
exports.hook_rcpt = (next, connection) => {
    connection.relaying = !folder;
    next(OK);
};
exports.hook_get_mx = (next, hmail, domain) =>
    next(OK, { priority: 0, exchange: '127.0.0.1', port: Number(process.env.BENCH_RELAY_PORT) });

exports.hook_queue = (next, connection) => {
    if (!folder) return next();
    const temporary = path.join(folder, connection.transaction.uuid + '.tmp');
    const failed = () => next(DENYSOFT);
    const file = fs.createWriteStream(temporary, { flush: true });
    file.on('error', failed);
    file.on('close', () => {
        fs.rename(temporary, temporary.replace('.tmp', '.eml'), (error) => {
            if (error) return failed();
            fs.open(folder, (error, fd) => {
                if (error) return failed();
                fs.fsync(fd, (error) => {
                    fs.close(fd, () => (error ? failed() : next(OK)));
                });
            });
        });
    });
    connection.transaction.message_stream.pipe(file);
};
"""

FILES = {
    "plugins": "durable\n",
    "me": "bench.test\n",
    "host_list": "bench.test\n",
    "smtp.ini": "listen=127.0.0.1:{port}\nnodes=2\n",
    "log.ini": "[main]\nlevel=notice\n",
    "outbound.ini": "concurrency_max=100\nenable_tls=false\n",
    "internalcmd_key": "bench\n",
}


class Haraka(Server):
    """Runs the cluster in the foreground."""

    name = "haraka"

    @classmethod
    def missing(cls) -> str:
        """Needs what script/bench gets from npm."""
        if cls.program().exists() and shutil.which("node"):
            return ""
        return "Haraka or node is not installed"

    @staticmethod
    def program() -> Path:
        """Haraka's start script."""
        return cache_directory() / "haraka/node_modules/Haraka/bin/haraka"

    def prepare(self) -> None:
        """Writes the configuration and the plugin that stores or relays."""
        for folder in ("config", "plugins", "queue", "store"):
            (self.home / folder).mkdir()
        for name, text in FILES.items():
            (self.home / "config" / name).write_text(text.format(port=self.port))
        defaults = self.program().parents[1].joinpath("config/connection.ini").read_text()
        limits = defaults.replace("bytes=26214400", "bytes=67108864")
        (self.home / "config/connection.ini").write_text(limits)
        (self.home / "plugins/durable.js").write_text(PLUGIN)

    def command(self) -> list[str]:
        """Haraka with this configuration."""
        return ["node", str(self.program()), "-c", str(self.home)]

    def environment(self) -> dict[str, str]:
        """Tells the plugin whether to store or to relay."""
        if self.job.relay_port is None:
            target = {"BENCH_STORE": str(self.home / "store")}
        else:
            target = {"BENCH_RELAY_PORT": str(self.job.relay_port)}
        return {**super().environment(), **target}

    def settings(self) -> str:
        """The configuration files."""
        files = "\n".join(f"{name}: {text.strip()}" for name, text in FILES.items())
        return (
            f"{files}\nconnection.ini: its own, [max] bytes=67108864\n"
            "without a relay host: plugin writes, fsyncs, renames, fsyncs the directory;\n"
            "with one: its outbound queue"
        )

    def accepted(self) -> int:
        """Files in place under their final names."""
        return count_files(self.home / "store", ending=".eml")

    def queued(self) -> int:
        """Files of the outbound queue."""
        return count_files(self.home / "queue")
