# What the scripts share; sourced by them, after `set -euo pipefail`.
# shellcheck shell=bash

# A job started with its standard input closed would hand descriptor 0 to the next file opened.
if ! { true <&0; } 2>/dev/null; then exec </dev/null; fi

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=$ROOT/.venv
# smtp-source and exim live in sbin, which is not on everybody's path.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() { printf '== %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
is_root() { [ "$(id -u)" = 0 ]; }

# Run the rest while no other of our scripts makes the venv or installs packages.
locked() {
    (
        ! command -v flock >/dev/null || flock 9
        "$@" 9<&-
    ) 9<"$ROOT/setup.py"
}

# --- The virtual environment ---------------------------------------------------------------

# The distribution's own goes before another: that is what servers run on, and one that was built
# from source without profiles, as pyenv does, takes half as long again for the same work.
find_python() {
    local candidate wanted
    is_python() { "$1" -c "$2
import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; }
    if [ -n "${PYTHON:-}" ]; then
        is_python "$PYTHON" '' || die "$PYTHON is not Python 3.11 or later"
        command -v "$PYTHON"
        return
    fi
    for wanted in 'import ensurepip' ''; do
        for candidate in /usr/bin/python3 python3 python3.{14,13,12,11} python; do
            if is_python "$candidate" "$wanted"; then
                command -v "$candidate"
                return
            fi
        done
    done
    die "needs Python 3.11 or later; set PYTHON to one"
}

# Print what the installed set depends on: the place, the interpreter, the requirements.
venv_stamp() {
    { printf '%s\n' "$VENV" "$1"; "$VENV/bin/python" -VV
      cat "$ROOT/setup.py" "$ROOT/pyproject.toml"; } | sha256sum
}

venv_works() {
    [ "$(cat "$VENV/.mailrelay-place" 2>/dev/null)" = "$VENV" ] &&
        "$VENV/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

make_venv() {
    local extras=$1 python stamp
    stamp=$VENV/.mailrelay-stamp-${extras//[^a-z]/-}
    if ! venv_works; then
        python=$(find_python)
        if ! "$python" -c 'import ensurepip' 2>/dev/null; then
            is_root || die "$python has no ensurepip; install python3-venv"
            apt_install python3-venv
        fi
        say "making .venv with $("$python" -V)"
        rm -rf "$VENV"
        "$python" -m venv "$VENV"
        printf '%s\n' "$VENV" >"$VENV/.mailrelay-place"
    fi
    if [ "$(cat "$stamp" 2>/dev/null)" != "$(venv_stamp "$extras")" ]; then
        say "installing mailrelay$extras into .venv"
        "$VENV/bin/python" -m pip install -qq --disable-pip-version-check --editable "$ROOT$extras"
        venv_stamp "$extras" >"$stamp"
    fi
}

# need_venv [EXTRAS]: make .venv hold the project, e.g. with '[postgres,test]'. Nothing is
# asked of the network when neither setup.py, pyproject.toml nor the interpreter changed.
need_venv() { locked make_venv "${1:-}"; }

# --- Debian packages -----------------------------------------------------------------------

# Install packages without starting a service, asking a question or removing anything.
apt_install() (
    policy=/usr/sbin/policy-rc.d
    log=$(mktemp)
    restore() {
        rm -f "$log" "$policy"
        if [ -e "$policy.mailrelay-saved" ]; then mv "$policy.mailrelay-saved" "$policy"; fi
    }
    trap restore EXIT
    # A saved one that is still there is from a run that was killed: it is the true one.
    if [ -e "$policy" ] && [ ! -e "$policy.mailrelay-saved" ]; then
        mv "$policy" "$policy.mailrelay-saved"
    fi
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"

    export DEBIAN_FRONTEND=noninteractive
    say "installing Debian packages: $*"
    if [[ " $* " == *" postfix "* ]]; then
        # Without main.cf, Postfix does not start at the next boot either.
        echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
    fi
    install() {
        apt-get install -y -qq --no-install-recommends --no-remove \
            -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" </dev/null >"$log" 2>&1
    }
    if ! install "$@"; then
        apt_update
        install "$@" || { cat "$log" >&2; die "could not install: $*"; }
    fi
)

apt_update() {
    say "apt-get update"
    apt-get update -qq -o DPkg::Lock::Timeout=300 </dev/null
}

is_there() {
    case $1 in
        */*) [ -e "$1" ] ;;
        lib*) [ "$(dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | head -n 1)" = installed ] ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

install_missing() {
    local pair missing=()
    for pair; do
        is_there "${pair%%:*}" || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} = 0 ] && return
    is_root || die "missing Debian packages; as root: apt-get install ${missing[*]}"
    apt_install "${missing[@]}"
}

# need_packages WHAT:PACKAGE...: WHAT is a command, a file's path, or a library package's
# own name. Installs what is missing when root, else fails and says which.
need_packages() { locked install_missing "$@"; }

# unpack_package PACKAGE DIRECTORY: the files of a package, without installing it.
unpack_package() {
    local package=$1 directory=$2 work
    work=$(mktemp -d)
    (
        cd "$work" || exit
        download() { apt-get download -qq -o APT::Sandbox::User="$(id -un)" "$package" >log 2>&1; }
        if ! download; then
            if is_root; then apt_update; fi
            download || { cat log >&2; rm -rf "$work"; die "could not download $package"; }
        fi
        dpkg -x ./*.deb tree
    )
    rm -rf "$directory"
    mkdir -p "$(dirname "$directory")"
    # Moved last, so that a directory which is there is complete.
    chmod 755 "$work/tree"
    mv "$work/tree" "$directory"
    rm -rf "$work"
}

# need_exim DIRECTORY: DIRECTORY/exim/usr/sbin/exim4, with its libraries and its user.
# Exim cannot be installed beside Postfix, so it is unpacked only.
need_exim() {
    local libraries directory=$1 exim=$1/exim/usr/sbin/exim4
    if [ ! -x "$exim" ]; then
        say "unpacking exim4 into $directory"
        locked unpack_package exim4-daemon-light "$directory/exim"
        # Nobody would update it, so it must not be a way to become root.
        chmod u-s "$exim"
    fi
    if ldd "$exim" | grep 'not found' >/dev/null; then
        libraries=$(apt-cache depends exim4-daemon-light | sed -n 's/^ *Depends: \(lib.*\)/\1:\1/p')
        # shellcheck disable=SC2086
        need_packages $libraries
    fi
    if ! getent passwd Debian-exim >/dev/null; then
        is_root || die "exim needs its user; as root: useradd --system --no-create-home Debian-exim"
        useradd --system --user-group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin Debian-exim
    fi
}
