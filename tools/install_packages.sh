#!/usr/bin/env bash
# Installs the Debian packages that are missing: tools/install_packages.sh [demo|test]
#
# No daemon of a package installed here is started or enabled: its units are masked first, and a
# policy-rc.d guard stands while apt works.  What was installed before is left exactly as it is:
# no broker, no ruleset, no service of yours is touched.  Says nothing and needs no root when
# nothing is missing.
set -euo pipefail

purpose=${1:-test}
missing=()
masks=()

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
want() { if ! installed "$1"; then missing+=("$1"); fi; }
mask_with() { # PACKAGE UNIT...: these units come with PACKAGE; mask them if it is not there yet
  local package=$1
  shift
  if ! installed "$package"; then masks+=("$@"); fi
}

if ! [ -x /usr/bin/dpkg-query ]; then
  echo "this is not a Debian system: install RabbitMQ, nftables and iproute2 yourself" >&2
  exit 1
fi

want ca-certificates
want iproute2
want nftables
want libnftables1
if ! [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || ! [ -x /usr/bin/epmd ]; then
  want rabbitmq-server
  mask_with rabbitmq-server rabbitmq-server.service
  mask_with erlang-base epmd.service epmd.socket
fi
if ! "$(dirname "$0")/find_python.sh" >/dev/null 2>&1; then
  want python3
  want python3-venv
fi
if [ "$purpose" = test ] && ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
  want postgresql
  mask_with postgresql-common postgresql.service
fi

if [ ${#missing[@]} -eq 0 ]; then exit 0; fi
if [ "$(id -u)" -ne 0 ]; then
  echo "missing: ${missing[*]}; they need root to install: sudo $0 $purpose" >&2
  exit 1
fi
echo "installing: ${missing[*]}"

guard=/usr/sbin/policy-rc.d
saved_guard=$guard.before-nfp
cluster=/etc/postgresql-common/createcluster.conf
saved_cluster=$cluster.before-nfp

restore() {
  if [ -e "$saved_guard" ]; then
    mv -f "$saved_guard" "$guard"
  elif grep -qs 'nfp: while packages are installed' "$guard"; then
    rm -f "$guard"
  fi
  if [ -e "$saved_cluster" ]; then mv -f "$saved_cluster" "$cluster"; fi
}
restore # what a run that was killed has left
trap restore EXIT

if [ -e "$guard" ]; then cp -a "$guard" "$saved_guard"; fi
fresh=$(mktemp "$guard.XXXXXX")
printf '#!/bin/sh\n# nfp: while packages are installed, nothing starts\nexit 101\n' >"$fresh"
chmod 755 "$fresh"
mv -f "$fresh" "$guard"

for unit in "${masks[@]}"; do
  mkdir -p /etc/systemd/system
  if ! [ -e "/etc/systemd/system/$unit" ] && ! [ -L "/etc/systemd/system/$unit" ]; then
    ln -s /dev/null "/etc/systemd/system/$unit"
    echo "masked $unit (undo: systemctl unmask $unit)"
  fi
done

export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
log=$(mktemp)
apt() { # quietly, but with all that it said when it fails
  apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null || {
    cat "$log" >&2
    exit 1
  }
}
apt update
if [[ " ${missing[*]} " == *" postgresql "* ]]; then
  # No cluster: the tests make their own, in a directory of their own.
  apt install -y --no-install-recommends postgresql-common
  cp -a "$cluster" "$saved_cluster"
  printf '\ncreate_main_cluster = false\n' >>"$cluster"
fi
apt install -y --no-install-recommends "${missing[@]}"
for unit in "${masks[@]}"; do # the same for hosts that still boot by /etc/init.d
  if [ -x "/etc/init.d/${unit%.service}" ]; then update-rc.d "${unit%.service}" disable >/dev/null; fi
done
rm -f "$log"
