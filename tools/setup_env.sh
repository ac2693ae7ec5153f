#!/usr/bin/env bash
# Make .venv with everything that `make demo` and `make test` need; do nothing when it
# is there. Safe to interrupt at any point, to run again, and to run twice at once.
#
#   MMS_PYTHON       the interpreter to make it with, a CPython 3.11
#   PIP_FIND_LINKS   folder of wheels; an mmcv wheel in it saves the build
#   CXX              the C++ compiler for mmcv's operators; without one that works,
#                    mmcv-lite is installed with torchvision's NMS and RoIAlign
set -uo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=$ROOT/.venv
STATE=$VENV/.mms           # stamp, lists of what is installed, lock, log
PYTHON=$VENV/bin/python
LOG=$STATE/setup.log
WANTED=3.11                # the Python that the pins in env.txt are for
PACKAGES=$VENV/lib/python$WANTED/site-packages
DISK_GB=10                 # 5.4 GB installed, and pip's downloads and cache beside it

say() { printf '%s\n' "$*"; }
die() { printf 'setup_env: %s\n' "$*" >&2; exit 1; }

cd "$ROOT" || die "cannot enter $ROOT"
# Another environment's modules must not be taken for this one's.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV PIP_TARGET PIP_PREFIX PIP_USER PIP_REQUIRE_VIRTUALENV
export PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

# ------------------------------------------------------------------------ interpreters
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
base_of() { "$1" -c 'import os, sys; print(os.path.realpath(sys.base_prefix))' 2>/dev/null; }

find_python() {  # sets BASE, or says which Python is wrong
    local candidate version seen="" named="MMS_PYTHON=${MMS_PYTHON:-}"
    if [[ -n ${MMS_PYTHON:-} ]]; then
        command -v "$MMS_PYTHON" >/dev/null || die "$named is not a program; name a CPython $WANTED"
        version=$(version_of "$MMS_PYTHON") || die "$named does not run as a Python; name a CPython $WANTED"
        [[ $version == "$WANTED" ]] || die "$named is Python $version; name a CPython $WANTED, which the pinned packages are for"
    fi
    # Every one on PATH: a version manager's shim may hide the system's.
    while read -r candidate; do
        version=$(version_of "$candidate") || continue
        if [[ $version != "$WANTED" ]]; then
            seen+=" $candidate is $version;"
            continue
        fi
        "$candidate" -c 'import venv, ensurepip' 2>/dev/null ||
            die "$candidate cannot make virtual environments (no venv or ensurepip module); run: apt-get install python$WANTED-venv"
        BASE=$candidate
        return
    done < <(if [[ -n ${MMS_PYTHON:-} ]]; then type -P "$MMS_PYTHON"; else type -aP "python$WANTED" python3 python; fi)
    die "no CPython $WANTED found (${seen:-no Python at all on PATH;} the pinned packages are for it); install it (Debian 12: apt-get install python$WANTED python$WANTED-venv python$WANTED-dev) or name it: MMS_PYTHON=/path/to/python$WANTED"
}

check_venv() {  # what is there is this Python's
    local found
    [[ ! -e $VENV || -d $VENV ]] || die ".venv is not a folder; remove it and run again"
    [[ -e $PYTHON || -L $PYTHON ]] || return 0
    found=$(version_of "$PYTHON") || die ".venv/bin/python does not run; remove it (rm -rf .venv) and run again"
    [[ $found == "$WANTED" ]] || die ".venv holds Python $found, but the pinned packages are for CPython $WANTED; remove it (rm -rf .venv) and run again"
    [[ -z ${MMS_PYTHON:-} || $(base_of "$MMS_PYTHON") == "$(base_of "$PYTHON")" ]] ||
        die ".venv was made with another interpreter than MMS_PYTHON=$MMS_PYTHON; remove it (rm -rf .venv) and run again"
}

# ------------------------------------------------------------------------ all there?
fingerprint() {  # the state of every input, without starting Python
    cat requirements/env.txt pyproject.toml setup.py mms_plugin/version.py tools/setup_env.sh \
        tools/setup_env_parts.py tools/mmcv_ext.py "$VENV/pyvenv.cfg" \
        <(printf '%s' "$ROOT") 2>/dev/null | sha256sum | cut -c1-64
}

stop_if_in_place() {
    [[ -x $PYTHON && -r $STATE/stamp && $(<"$STATE/stamp") == "$(fingerprint)" ]] || return 0
    say "setup_env: .venv is in place"
    exit 0
}

# ------------------------------------------------------------------------ running
CHILD=""
stop() {  # the running step has a process group of its own
    trap - INT TERM HUP
    [[ -z $CHILD ]] || { kill -TERM -- "-$CHILD" 2>/dev/null; wait "$CHILD" 2>/dev/null; }
    printf '\nsetup_env: interrupted; run again to continue from here\n' >&2
    exit 130
}

run() {  # runs a command into the log, and says every 30 s that it goes on
    local ticks=0 status
    printf '\n$ %s\n' "$*" >>"$LOG"
    setsid "$@" >>"$LOG" 2>&1 &
    CHILD=$!
    while kill -0 "$CHILD" 2>/dev/null; do
        sleep 0.2
        ((++ticks % 150)) || say "      $((ticks / 300)) min: $(tail -n 1 "$LOG" | tr -d '\r' | cut -c1-90)"
    done
    wait "$CHILD"
    status=$?
    CHILD=""
    return $status
}

pip() { run "$PYTHON" -m pip --timeout 30 --retries 3 "$@"; }

failed() {  # $1: what did
    local recent
    recent=$(sed -n '/^\$ /h;//!H;${x;p}' "$LOG")  # of the last command
    ! grep -qiE 'connection (error|broken|refused|reset|timed)|NewConnectionError|name resolution|ProxyError|ReadTimeout|Max retries|Could not fetch URL|from versions: none|SSLError|HTTPError' <<<"$recent" ||
        die "no answer from the package index ($1); check the network (or PIP_INDEX_URL, https_proxy) and run again; details: ${LOG#"$ROOT"/}"
    die "$1 failed: $(grep -iE 'error' <<<"$recent" | tail -n 1 | cut -c1-200); details: ${LOG#"$ROOT"/}"
}

install() {  # $1: a part of env.txt; $2: what to say; then the command that takes its list
    local name=$1 list=$TMPDIR/$1.txt
    "$PYTHON" tools/setup_env_parts.py list "$name" >"$list" || die "requirements/env.txt is not complete; restore it: git checkout requirements/env.txt"
    # The list of what was installed before lies beside the log.
    [[ ! -r $STATE/$name.txt || $(<"$STATE/$name.txt") != "$(<"$list")" ]] || return 0
    say "$2"
    shift 2
    "$@" "$list" || failed "installing the part [$name] of requirements/env.txt"
    mv "$list" "$STATE/$name.txt"
}

# ------------------------------------------------------------------------ mmcv
mmcv_works() { run "$PYTHON" -c 'import mmcv.ops'; }

compiler_problem() {  # says why nothing can be compiled, if so
    local cxx=${CXX:-c++} headers message
    command -v "${cxx%% *}" >/dev/null || { say "no C++ compiler (${cxx%% *} not found)"; return; }
    headers=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
    printf '#include <vector>\n#include <Python.h>\n' >"$TMPDIR/probe.cpp"
    message=$($cxx -I"$headers" -shared -fPIC "$TMPDIR/probe.cpp" -o "$TMPDIR/probe.so" 2>&1) ||
        say "$cxx cannot build a small program: $(grep -m 1 error <<<"$message" | cut -c1-160)"
}

install_mmcv() {  # $1: file with its pin
    local pin problem source hide=()
    pin=$(<"$1")
    source=$TMPDIR/${pin/==/-}
    pip install --no-deps --force-reinstall --only-binary :all: "$pin" && mmcv_works && return
    problem=$(compiler_problem)
    if [[ -n $problem ]]; then
        say "      mmcv-lite with torchvision's NMS and RoIAlign in place of mmcv's operators: $problem (for all of them: apt-get install g++ python$WANTED-dev, rm -rf .venv, make env)"
        pip install --no-deps --force-reinstall "${pin/mmcv/mmcv-lite}" &&
            cp tools/mmcv_ext.py "$PACKAGES/mmcv/_ext.py" && mmcv_works
        return
    fi
    # A driver without nvcc would make mmcv try to build what it cannot.
    command -v nvcc >/dev/null || hide=(CUDA_VISIBLE_DEVICES=)
    pip download --no-deps --no-build-isolation --no-binary :all: -d "$TMPDIR" "$pin" &&
        tar -xzf "$source.tar.gz" -C "$TMPDIR" && run "$PYTHON" tools/setup_env_parts.py unite "$source" &&
        run env -u FORCE_CUDA MMCV_WITH_OPS=1 MAX_JOBS="${MAX_JOBS:-$(nproc)}" PATH="$VENV/bin:$PATH" \
            ${hide[@]+"${hide[@]}"} "$PYTHON" -m pip install -v --no-deps --no-build-isolation \
            --no-cache-dir --force-reinstall "$source" && mmcv_works
}

# ------------------------------------------------------------------------ main
check_venv
stop_if_in_place
[[ $(uname -s) == Linux ]] || die "this set-up is for Linux; elsewhere install into an environment of your own: pip install -e ."
[[ -x $PYTHON ]] || find_python
mkdir -p "$STATE" 2>/dev/null || die "cannot write to $ROOT; make it writable, or clone the project elsewhere"
exec 9>"$STATE/lock"
flock -n 9 || { say "setup_env: another set-up is at work in this folder; waiting for it"; flock 9; }
stop_if_in_place
[[ -d $PACKAGES/torch ]] || (($(df -Pk "$ROOT" | awk 'NR == 2 { print $4 }') >= DISK_GB * 1048576)) ||
    die "too little disk: $(($(df -Pk "$ROOT" | awk 'NR == 2 { print $4 }') / 1048576)) GB free in $ROOT, about $DISK_GB GB needed; free some space and run again"

trap stop INT TERM HUP
: >"$LOG"
export TMPDIR=$STATE/tmp   # not a small /tmp, and cleared after a kill
rm -rf "$TMPDIR" && mkdir "$TMPDIR"
task="making .venv, about 5 min in all on two cores"
[[ ! -d $PACKAGES/torch ]] || task="completing .venv"
say "setup_env: $task; log: ${LOG#"$ROOT"/}"

# What a killed pip left half-installed has no INSTALLER yet, or a name with ~.
for folder in "$PACKAGES"/*.dist-info; do
    [[ -e $folder/INSTALLER ]] || rm -rf "$folder"
done
rm -rf "$PACKAGES"/~*

if ! run "$PYTHON" -m pip --version; then
    [[ -n ${BASE:-} ]] || find_python
    say "[1/6] virtual environment of Python $WANTED (usually 10 s)"
    run "$BASE" -m venv "$VENV" || failed "making .venv"
fi
pins=(pip install --progress-bar off --no-deps -r)
install build "[2/6] build tools: setuptools, wheel, ninja (usually 10 s)" "${pins[@]}"
install torch "[3/6] torch and torchvision, 2.5 GB to download (usually 1.5 min)" "${pins[@]}"
install libraries "[4/6] mmengine, mmdet, mmpretrain, test tools (usually 1 min)" "${pins[@]}"
install mmcv "[5/6] mmcv with its operators for the CPU (usually 2 min on two cores)" install_mmcv
say "[6/6] the project itself, and a check that everything loads (usually 30 s)"
pip install --no-deps --no-build-isolation -e . || failed "installing the project"
if ! run "$PYTHON" -P tools/setup_env_parts.py verify; then
    rm -f "$STATE"/*.txt
    die "the environment is not complete: $(tail -n 1 "$LOG" | cut -c1-200); run again, or remove it first (rm -rf .venv)"
fi
rm -rf "$TMPDIR"
fingerprint >"$STATE/stamp.part" && mv "$STATE/stamp.part" "$STATE/stamp"
say "setup_env: .venv is ready ($((SECONDS / 60)) min $((SECONDS % 60)) s)"
