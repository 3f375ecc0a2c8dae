#!/usr/bin/env bash
# Prints the path of a Python that can make our virtual environment: 3.11 or later, with venv and pip.
# Asks each candidate to run, for a shim on the path may stand for nothing.
set -euo pipefail

for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
  found=$("$candidate" -c '
import sys
if sys.version_info < (3, 11):
    sys.exit(1)
import ensurepip, venv
print(sys.executable)
' 2>/dev/null) || continue
  echo "$found"
  exit 0
done
echo "no Python 3.11 or later with venv: apt-get install python3 python3-venv" >&2
exit 1
