#!/usr/bin/env bash
# Makes the virtual environment DIRECTORY with this project and what its tests need: tools/make_venv.sh DIRECTORY
set -euo pipefail

directory=$1
python=$("$(dirname "$0")/find_python.sh")
if ! "$directory/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  rm -rf "$directory"
  echo "making $directory with $python"
  "$python" -m venv "$directory"
fi
# Once more after a failure: an index that answers slowly is no reason to give up.
install() {
  PIP_DISABLE_PIP_VERSION_CHECK=1 "$directory/bin/python" -m pip install --quiet --retries 5 --editable '.[test,postgresql]'
}
install || install
