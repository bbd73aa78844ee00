"""The unit and the Dockerfile of docs/examples, run for real on a copy of this machine.

The copy is an overlay that goes with its mount namespace, and its network has nothing but a
loopback, so that users are made, paths are those of the examples and ports are 25 and 587.
What systemd and Docker do with the examples is done here by ``setpriv``, ``mount`` and ``chroot``;
neither is run itself.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections import defaultdict
from functools import cache
from pathlib import Path

from tests.integration.installed import PATIENCE, ROOT, SOURCES, environment, interpreter

EXAMPLES = ROOT / "docs" / "examples"

CLIENT = """
import smtplib, sys, time
until = time.monotonic() + 60
while True:
    try:
        client = smtplib.SMTP("127.0.0.1", 25, "client.test", timeout=60)
        break
    except OSError:
        if time.monotonic() > until:
            raise
        time.sleep(0.1)
client.sendmail("a@client.test", ["me@example.org"], "From: a@client.test\\r\\n\\r\\nhi\\r\\n")
print("TAKEN")
"""


def unit() -> dict[str, list[str]]:
    """The settings of the systemd unit; a name may stand more than once."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in (EXAMPLES / "mailrelay.service").read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


def commands_in_comments(name: str) -> list[str]:
    """The commands that an example's first comment tells to run before."""
    text = (EXAMPLES / name).read_text()
    comment = re.match(r"(?:#.*\n)+", text)
    assert comment is not None
    lines = re.sub(r"\\\n#", "", comment[0]).splitlines()
    return [" ".join(line[1:].split()) for line in lines if re.match(r"#  +\w", line)]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, with their arguments."""
    text = (EXAMPLES / "Dockerfile").read_text()
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def of(name: str) -> list[str]:
    """The arguments of the Dockerfile's instructions called ``name``."""
    return [argument for instruction, argument in instructions() if instruction == name]


def can_run() -> bool:
    """Whether this is root, and may mount and make namespaces."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "ip", "useradd"))):
        return False
    tried = "mount -t tmpfs t /mnt && mkdir /mnt/u /mnt/w /mnt/r && "
    tried += "mount -t overlay o -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r"
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-c", tried],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


@cache
def said() -> str:
    """All that the examples print."""
    work = Path(tempfile.mkdtemp(prefix="mailrelay-examples."))
    try:
        source = work / "source"
        source.mkdir()
        for name in SOURCES:
            if (ROOT / name).is_dir():
                left_out = shutil.ignore_patterns("__pycache__", "dropin.cache")
                shutil.copytree(ROOT / name, source / name, ignore=left_out)
            else:
                shutil.copy(ROOT / name, source)
        shutil.copytree(EXAMPLES, work / "examples")
        (work / "client.py").write_text(CLIENT)
        for name, text in (("all", _all(work)), ("docker", _docker()), ("unit", _unit())):
            (work / name).write_text(f"set -eu\n{text}")
        arguments = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash"]
        done = subprocess.run(
            [*arguments, str(work / "all")],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=10 * PATIENCE,
            check=False,
        )
        return f"{done.stdout}\nENDED WITH {done.returncode}\n"
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _all(work: Path) -> str:
    """Make the copy of the machine, build what the Dockerfile builds, run both examples."""
    build = "\n".join(
        f"chroot root bash -euc {shlex.quote(f'export PATH={PATH}; {argument}')}"
        for argument in of("RUN")
    )
    return f"""
cd {work}
mkdir layers root
mount -t tmpfs tmpfs layers
mkdir layers/upper layers/work
mount -t overlay overlay -o lowerdir=/,upperdir=layers/upper,workdir=layers/work root
mount -t proc proc root/proc
mount --bind /dev root/dev
mount -t tmpfs tmpfs root/tmp
mkdir root/examples
cp -R source root/source
cp client.py docker unit examples/mailrelay.service root/examples
rm -f root/usr/local/bin/python
ln -s {interpreter()} root/usr/local/bin/python
{build}
echo BUILT
unshare --net bash -c 'ip link set lo up; exec chroot root bash /examples/docker' 2>&1
echo DOCKER ENDED
unshare --net bash -c 'ip link set lo up; exec chroot root bash /examples/unit' 2>&1
echo UNIT ENDED
"""


PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


def _docker() -> str:
    """What ``docker run`` does, as often as the Dockerfile's comment says."""
    [user], [folder], [stop] = of("USER"), of("WORKDIR"), of("STOPSIGNAL")
    exports = "".join(f"export {one}\n" for line in of("ENV") for one in shlex.split(line))
    [quickstart] = [c for c in commands_in_comments("Dockerfile") if " quickstart " in c]
    [run] = [c for c in commands_in_comments("Dockerfile") if "docker run -d" in c]
    [config] = re.findall(r"-e (MAILRELAY_CONFIG=\S+)", run)
    [sysctl] = re.findall(r"--sysctl (\S+)", run)
    within = quickstart[quickstart.index(" mailrelay mailrelay ") + len(" mailrelay ") :]
    [health] = of("HEALTHCHECK")
    [command] = of("CMD")
    check = shlex.join(json.loads(health.removeprefix("CMD ")))
    as_user = f"setpriv --reuid={user} --regid={user} --clear-groups --no-new-privs"
    as_user += " --inh-caps=-all --bounding-set=-all"
    return f"""
export PATH={PATH}
{exports}
cd {folder}
echo {sysctl.split("=")[1]} >/proc/sys/{sysctl.split("=")[0].replace(".", "/")}
{as_user} {within} --yes
export {config}
{as_user} {shlex.join(json.loads(command))} &
server=$!
{as_user} python /examples/client.py
{as_user} {check} && echo HEALTHY
kill -s {stop} $server
wait $server || echo STATUS $?
{as_user} mailrelay message list --json
"""


def _unit() -> str:
    """What systemd does with the unit: its user, its one capability, its read-only system."""
    settings = {name: values[-1] for name, values in unit().items()}
    prepare = [
        c for c in commands_in_comments("mailrelay.service") if not c.startswith("systemctl")
    ]
    capability = settings["AmbientCapabilities"].removeprefix("CAP_").lower()
    assert settings["CapabilityBoundingSet"] == settings["AmbientCapabilities"]
    assert settings["ProtectSystem"] == "strict" and settings["NoNewPrivileges"] == "true"
    made = "userdel mailrelay\n"  # by the Dockerfile
    made += "\n".join(f"{c} --yes" if " quickstart " in c else c for c in prepare)
    writable = settings["ReadWritePaths"]
    as_user = f"setpriv --reuid={settings['User']} --regid={settings['Group']} --clear-groups"
    as_user += f" --no-new-privs --bounding-set=-all,+{capability}"
    with_capability = f" --inh-caps=-all,+{capability} --ambient-caps=-all,+{capability}"
    return f"""
export PATH=/opt/mailrelay/bin:{PATH}
if command -v systemd-analyze >/dev/null; then
    systemd-analyze verify /examples/mailrelay.service
fi
{made}
umask {settings["UMask"]}
export {" ".join(unit()["Environment"])}
mount -t tmpfs tmpfs /tmp
mount --bind {writable} {writable}
mount -o remount,bind,ro /
cd /
{as_user}{with_capability} {settings["ExecStart"]} &
MAINPID=$!
python /examples/client.py
{settings["ExecReload"]}
python /examples/client.py
kill $MAINPID
wait $MAINPID || echo STATUS $?
mailrelay message list --json --config /etc/mailrelay/mailrelay.toml
"""
