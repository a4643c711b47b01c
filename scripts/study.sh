# Sourced by the run.sh of each study, with the names of its arguments, -- and the arguments: sets
# $data (an existing folder) and $output, prints the study's usage if the count is wrong, and goes to
# the root of the repository, where `vl` runs the checkout.
set -euo pipefail
arguments=()
while [ "$1" != -- ]; do
    arguments+=("$1")
    shift
done
shift
if [ $# -ne ${#arguments[@]} ]; then
    sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[1]}" >&2
    exit 2
fi
if [ "${arguments[0]}" = DATA ]; then
    data=$(realpath "$1")
    shift
fi
output=$(realpath -m "$1")
mkdir -p "$output"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -d .venv/bin ]; then
    PATH="$PWD/.venv/bin:$PATH"
fi
export PYTHONPATH=$PWD
vl() { python -m vl "$@"; }
