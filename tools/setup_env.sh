#!/usr/bin/env bash
# Makes .venv with everything that `make demo` and `make test` need, and does
# nothing when it is there. Safe to interrupt at any point and to run again, and
# to run twice at once.
#
#   MMS_PYTHON       the interpreter to make it with, a CPython 3.11
#   PIP_FIND_LINKS   folder of wheels; an mmcv wheel in it saves the build
#   CXX              the C++ compiler for mmcv's operators; without one that works,
#                    mmcv-lite is installed with torchvision's NMS and RoIAlign
#   VERBOSE=1        show all of pip's output
set -uo pipefail

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 0
fi

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=$ROOT/.venv
STATE=$VENV/.mms           # what this script keeps: stamp, marks, lock, log
PYTHON=$VENV/bin/python
REQUIREMENTS=$ROOT/requirements/env.txt
LOG=$STATE/setup.log
WANTED=3.11                # the Python that the pins in env.txt are for
# Measured on this list: 5.4 GB installed, and pip's downloads and cache beside it.
DISK_GB=10

say() { printf '%s\n' "$*"; }
die() { printf 'setup_env: %s\n' "$*" >&2; exit 1; }

cd "$ROOT" || die "cannot enter $ROOT"
[[ -r $REQUIREMENTS ]] || die "requirements/env.txt is missing; restore it: git checkout requirements/env.txt"
# Another environment's modules must not be taken for this one's.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV PIP_TARGET PIP_PREFIX PIP_USER PIP_REQUIRE_VIRTUALENV
export PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

# --------------------------------------------------------------------------- all there?
# The state of every input, without starting Python.
fingerprint() {
    cat "$REQUIREMENTS" pyproject.toml setup.py mms_plugin/version.py tools/setup_env.sh tools/mmcv_ext.py \
        "$VENV/pyvenv.cfg" <(printf '%s' "$ROOT") 2>/dev/null | sha256sum | cut -c1-64
}

in_place() {
    [[ -x $PYTHON && -r $STATE/stamp && $(<"$STATE/stamp") == "$(fingerprint)" ]]
}

base_of() { "$1" -c 'import os, sys; print(os.path.realpath(sys.base_prefix))' 2>/dev/null; }

check_same_interpreter() {  # an existing .venv is not silently another Python's
    [[ -n ${MMS_PYTHON:-} && -x $PYTHON ]] || return 0
    [[ $(base_of "$MMS_PYTHON") == "$(base_of "$PYTHON")" ]] ||
        die ".venv was made with another interpreter than MMS_PYTHON=$MMS_PYTHON; remove it (rm -rf .venv) and run again"
}

# --------------------------------------------------------------------------- checks
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

find_python() {  # sets BASE; says which Python is wrong otherwise
    local candidate found seen=""
    if [[ -n ${MMS_PYTHON:-} ]]; then
        command -v "$MMS_PYTHON" >/dev/null 2>&1 ||
            die "MMS_PYTHON=$MMS_PYTHON is not a program; name a CPython $WANTED, such as MMS_PYTHON=/usr/bin/python$WANTED"
        found=$(version_of "$MMS_PYTHON") ||
            die "MMS_PYTHON=$MMS_PYTHON does not run as a Python; name a CPython $WANTED"
        [[ $found == "$WANTED" ]] ||
            die "MMS_PYTHON=$MMS_PYTHON is Python $found, but the pinned packages are for CPython $WANTED; name one of that version"
        BASE=$MMS_PYTHON
        return
    fi
    # Every one on PATH: a version manager's shim may hide the system's.
    while read -r candidate; do
        found=$(version_of "$candidate") || continue
        if [[ $found == "$WANTED" ]]; then BASE=$candidate; return; fi
        seen+=" $candidate is $found;"
    done < <(type -aP "python$WANTED" python3 python)
    die "no CPython $WANTED found (${seen:-no Python at all on PATH;} the pinned packages are for it); install it (Debian 12: apt-get install python$WANTED python$WANTED-venv python$WANTED-dev) or name it: MMS_PYTHON=/path/to/python$WANTED"
}

check_venv_module() {
    "$1" -c 'import venv, ensurepip' 2>/dev/null ||
        die "$1 cannot make virtual environments (no venv or ensurepip module); run: apt-get install python$WANTED-venv"
}

mmcv_wheel_at_hand() {  # then nothing has to be compiled
    local folder
    for folder in ${PIP_FIND_LINKS:-}; do
        compgen -G "${folder#file://}/mmcv-2.1.0-*cp311*.whl" >/dev/null && return 0
    done
    return 1
}

compiler_problem() {  # $1: the interpreter whose headers are needed; prints why not, and the remedy
    local cxx=${CXX:-c++} include work
    command -v "${cxx%% *}" >/dev/null 2>&1 ||
        { say "no C++ compiler (${cxx%% *} not found); apt-get install g++"; return; }
    include=$("$1" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
    work=$(mktemp -d) || die "cannot write to ${TMPDIR:-/tmp}; free some space there, or set TMPDIR"
    printf '#include <vector>\nint main() { return std::vector<int>().size(); }\n' >"$work/plain.cpp"
    printf '#include <Python.h>\nint main() { return 0; }\n' >"$work/python.cpp"
    if ! $cxx "$work/plain.cpp" -o "$work/plain" >/dev/null 2>&1; then
        say "the C++ compiler $cxx cannot build a small program; apt-get install g++ libc6-dev"
    elif ! $cxx -I"$include" -c "$work/python.cpp" -o "$work/python.o" >/dev/null 2>&1; then
        say "Python.h is missing ($include); apt-get install python$WANTED-dev"
    fi
    rm -rf "$work"
}

check_disk() {
    local free_kb used_kb=0 missing_kb
    free_kb=$(df -Pk "$ROOT" 2>/dev/null | awk 'NR == 2 { print $4 }')
    [[ $free_kb =~ ^[0-9]+$ ]] || return 0
    [[ -d $VENV/lib ]] && used_kb=$(du -sk "$VENV" 2>/dev/null | cut -f1)
    missing_kb=$((DISK_GB * 1048576 - ${used_kb:-0} * 18 / 10))
    # The project itself and mmcv's build folder want some room in any case.
    ((missing_kb < 1048576)) && missing_kb=1048576
    ((free_kb >= missing_kb)) ||
        die "too little disk: $((free_kb / 1048576)) GB free in $ROOT, about $(((missing_kb + 1048575) / 1048576)) GB needed; free some space and run again"
}

# --------------------------------------------------------------------------- running
CHILD=""
stop() {  # the running step has a process group of its own
    trap - INT TERM HUP
    if [[ -n $CHILD ]]; then
        kill -TERM -- "-$CHILD" 2>/dev/null
        wait "$CHILD" 2>/dev/null
    fi
    say ""
    say "setup_env: interrupted; run again to go on from here" >&2
    exit 130
}

elapsed() { printf '%d min %02d s' $(($1 / 60)) $(($1 % 60)); }

run() {  # runs a command into the log, saying every 30 s that it goes on
    local start=$SECONDS next=30 status
    printf '\n$ %s\n' "$*" >>"$LOG"
    if [[ -n ${VERBOSE:-} ]]; then
        setsid "$@" > >(tee -a "$LOG") 2>&1 &
    else
        setsid "$@" >>"$LOG" 2>&1 &
    fi
    CHILD=$!
    while kill -0 "$CHILD" 2>/dev/null; do
        sleep 0.2
        if ((SECONDS - start >= next)); then
            say "      $(elapsed $((SECONDS - start))): $(tail -n 1 "$LOG" | tr -d '\r' | cut -c1-90)"
            next=$((next + 30))
        fi
    done
    wait "$CHILD"
    status=$?
    CHILD=""
    return $status
}

pip() { run "$PYTHON" -m pip --timeout 30 --retries 3 "$@"; }

pip_failed() {  # $1: what was being done
    local recent
    recent=$(tail -n 60 "$LOG")
    if grep -qiE 'No space left|Errno 28' <<<"$recent"; then
        die "the disk is full ($1); free some space in $ROOT and run again"
    elif grep -qiE 'connection (error|broken|refused|reset|timed)|NewConnectionError|name resolution|ProxyError|ReadTimeout|Max retries|Could not fetch URL|No matching distribution|SSLError|HTTPError' <<<"$recent"; then
        die "no answer from the package index ($1); check the network (or PIP_INDEX_URL, https_proxy) and run again; details: ${LOG#"$ROOT"/}"
    fi
    die "$1 failed: $(grep -iE 'error' <<<"$recent" | tail -n 1 | cut -c1-160); details: ${LOG#"$ROOT"/}"
}

part() {  # the lines of one [part] of env.txt
    awk -v part="[$1]" '/^# \[/ { on = ($2 == part) } on && !/^#/ && NF' "$REQUIREMENTS"
}

done_mark() { [[ -r $STATE/$1.done && $(<"$STATE/$1.done") == "$2" ]]; }

step() {  # $1: number, $2: name, $3: what, $4: how long it usually takes
    say "[$1/6] $3 (usually $4)"
}

install_part() {  # $1: number, $2: part, $3: what, $4: how long
    local lines key
    lines=$(part "$2")
    [[ -n $lines ]] || die "requirements/env.txt has no part [$2]; restore it: git checkout requirements/env.txt"
    key=$(sha256sum <<<"$lines" | cut -c1-64)
    done_mark "$2" "$key" && return 0
    step "$@"
    # Both own the folder cv2: a working one of the same version stays.
    if "$PYTHON" -c 'import importlib.metadata as m, sys; m.version("opencv-python"); import cv2' 2>/dev/null; then
        lines=$(grep -v '^opencv-python-headless' <<<"$lines")
    fi
    printf '%s\n' "$lines" >"$STATE/$2.txt"
    pip install --progress-bar off --no-deps -r "$STATE/$2.txt" || pip_failed "installing $3"
    printf '%s' "$key" >"$STATE/$2.done.part" && mv "$STATE/$2.done.part" "$STATE/$2.done"
}

mmcv_works() { "$PYTHON" -c 'import mmcv.ops' >>"$LOG" 2>&1; }

unite() {  # $1: mmcv's sources; two large files and five small ones compile in a tenth of the time of 77
    local folder file
    for folder in "$1/mmcv/ops/csrc/pytorch" "$1/mmcv/ops/csrc/pytorch/cpu"; do
        for file in "$folder"/*.cpp; do
            case $file in  # these define the same helpers, or macros that break others
                */cpu/psamask.cpp | */cpu/roi_align.cpp | */cpu/roi_align_rotated.cpp) continue ;;
                */cpu/bezier_align.cpp | */cpu/rotated_feature_align.cpp) continue ;;
            esac
            mv "$file" "$file.inc" || return 1
            printf '#include "%s.inc"\n' "${file##*/}" >>"$folder/united" || return 1
        done
        mv "$folder/united" "$folder/united.cpp" || return 1
    done
}

installed() {  # $1: distribution; prints its version
    "$PYTHON" -c "import importlib.metadata as m; print(m.version(\"$1\"))" 2>/dev/null
}

install_lite() {  # $1: version, $2: why
    local packages=$VENV/lib/python$WANTED/site-packages
    [[ $(installed mmcv-lite) == "$1" ]] && mmcv_works && return 0
    say "[5/6] mmcv-lite $1 with torchvision's NMS and RoIAlign in place of mmcv's operators: ${2%%;*} (for all of them:${2##*;}, rm -rf .venv, make env)"
    pip install --no-deps --force-reinstall "mmcv-lite==$1" || pip_failed "installing mmcv-lite"
    cp tools/mmcv_ext.py "$packages/mmcv/_ext.py" || die "cannot write to $packages"
    mmcv_works || die "mmcv-lite does not load: $(tail -n 1 "$LOG" | cut -c1-160); details: ${LOG#"$ROOT"/}"
}

install_mmcv() {
    local version build=$STATE/build problem
    version=$(part mmcv) && version=${version#mmcv==}
    [[ $(installed mmcv) == "$version" ]] && mmcv_works && return 0
    if mmcv_wheel_at_hand; then
        step 5 mmcv "mmcv $version from the wheel in PIP_FIND_LINKS" "5 s"
        remove_lite
        pip install --no-deps --force-reinstall --only-binary mmcv "mmcv==$version" || pip_failed "installing mmcv"
        mmcv_works && return 0
        say "      that wheel does not load here; building mmcv from source instead"
    fi
    problem=$(compiler_problem "$PYTHON")
    if [[ -n $problem ]]; then
        install_lite "$version" "$problem"
        return
    fi
    step 5 mmcv "mmcv $version, built from source with its operators for the CPU" "2 min on two cores"
    remove_lite
    # The folder stays until mmcv is installed: ninja continues an interrupted build.
    if [[ ! -d $build/mmcv-$version ]]; then
        rm -rf "$build" && mkdir -p "$build/part"
        pip download --no-deps --no-build-isolation --no-binary mmcv --progress-bar off \
            -d "$build/part" "mmcv==$version" || pip_failed "downloading mmcv"
        tar -xzf "$build/part/mmcv-$version.tar.gz" -C "$build/part" && unite "$build/part/mmcv-$version" &&
            mv "$build/part/mmcv-$version" "$build/" || die "cannot unpack mmcv-$version.tar.gz in $build; free some space and run again"
    fi
    # A driver without nvcc would make mmcv try to build what it cannot.
    local hide=()
    command -v nvcc >/dev/null 2>&1 || hide=(CUDA_VISIBLE_DEVICES=)
    run env -u FORCE_CUDA MMCV_WITH_OPS=1 MAX_JOBS="${MAX_JOBS:-$(nproc)}" \
        PATH="$VENV/bin:$PATH" ${hide[@]+"${hide[@]}"} \
        "$PYTHON" -m pip install -v --no-deps --no-build-isolation --no-cache-dir \
        --force-reinstall "$build/mmcv-$version" || pip_failed "building mmcv"
    mmcv_works || die "mmcv was built, but its operators do not load: $(tail -n 1 "$LOG" | cut -c1-160); details: ${LOG#"$ROOT"/}"
    rm -rf "$build"
}

remove_lite() {  # its files are mmcv's
    [[ -z $(installed mmcv-lite) ]] || pip uninstall -y mmcv-lite
    rm -f "$VENV/lib/python$WANTED/site-packages/mmcv/_ext.py"
}

verify() {  # every pin is installed, and the libraries load and work
    cat >"$STATE/verify.py" <<'PY'
import importlib.metadata as metadata
import sys

STAND_INS = {"opencv-python-headless": "opencv-python", "mmcv": "mmcv-lite"}
wrong = []
for line in open(sys.argv[1], encoding="utf-8"):
    name, _, version = line.partition("#")[0].strip().partition("==")
    found = "nothing"
    for candidate in filter(None, (name, STAND_INS.get(name))):
        try:
            found = metadata.version(candidate)
            break
        except metadata.PackageNotFoundError:
            pass
    # Of an environment that was there before, build tools may differ.
    if name and found.partition("+")[0] != version and name not in ("setuptools", "wheel"):
        wrong.append(f"{name} {found} in place of {version}")
if wrong:
    sys.exit("error: " + "; ".join(wrong))
import cv2, matplotlib, mmcv.ops, mmdet, mmpretrain, pycocotools.mask, torch, torchvision
boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30]])
kept = mmcv.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)[1].tolist()
if kept != [0, 2]:
    sys.exit(f"error: mmcv's nms kept {kept} in place of [0, 2]")
import mms_plugin

print("verified")
PY
    run "$PYTHON" "$STATE/verify.py" "$REQUIREMENTS" && [[ $(tail -n 1 "$LOG") == verified ]]
}

# --------------------------------------------------------------------------- main
check_same_interpreter
if in_place; then
    say "setup_env: .venv is in place"
    exit 0
fi

for tool in flock setsid sha256sum awk tar df; do
    command -v $tool >/dev/null 2>&1 || die "the program $tool is missing; run: apt-get install util-linux coreutils gawk tar"
done
[[ $(uname -s) == Linux ]] || die "this set-up is for Linux; elsewhere install into an environment of your own: pip install -e ."
[[ ! -e $VENV || -d $VENV ]] || die ".venv is not a folder; remove it and run again"
if [[ -x $PYTHON ]]; then
    found=$(version_of "$PYTHON") || die ".venv/bin/python does not run; remove it (rm -rf .venv) and run again"
    [[ $found == "$WANTED" ]] || die ".venv holds Python $found, but the pinned packages are for CPython $WANTED; remove it (rm -rf .venv) and run again"
    BASE=$PYTHON
elif [[ -L $PYTHON ]]; then
    die ".venv/bin/python points to an interpreter that is gone; remove it (rm -rf .venv) and run again"
else
    find_python
    check_venv_module "$BASE"
fi
check_disk

mkdir -p "$STATE" 2>/dev/null || die "cannot write to $ROOT; make it writable, or clone the project elsewhere"
exec 9>"$STATE/lock"
if ! flock -n 9; then
    say "setup_env: another set-up is at work in this folder; waiting for it"
    flock 9
fi
if in_place; then
    say "setup_env: .venv is in place"
    exit 0
fi
trap stop INT TERM HUP
: >"$LOG"
export TMPDIR=$STATE/tmp   # not a small /tmp, and cleared after a kill
rm -rf "$TMPDIR" && mkdir -p "$TMPDIR"
if [[ -d $VENV/lib/python$WANTED/site-packages/torch ]]; then
    say "setup_env: completing .venv; log: ${LOG#"$ROOT"/}"
else
    say "setup_env: making .venv, about 5 min in all on two cores; log: ${LOG#"$ROOT"/}"
fi

# What a killed pip left half-installed has no INSTALLER yet, or a name with ~.
for folder in "$VENV"/lib/python$WANTED/site-packages/*.dist-info; do
    [[ -d $folder && ! -e $folder/INSTALLER ]] && rm -rf "$folder"
done
rm -rf "$VENV"/lib/python$WANTED/site-packages/~*

if ! "$PYTHON" -m pip --version >/dev/null 2>&1; then
    step 1 venv "virtual environment of Python $WANTED" "10 s"
    run "$BASE" -m venv "$VENV" || die "making .venv failed: $(tail -n 1 "$LOG" | cut -c1-160); details: ${LOG#"$ROOT"/}"
fi

# One small file first, so that a missing network shows now.
if ! run "$PYTHON" -m pip --timeout 15 --retries 1 download -q --no-deps --no-cache-dir \
    -d "$TMPDIR/probe" "$(part build | grep '^wheel==')"; then
    pip_failed "asking for one small package"
fi

install_part 2 build "build tools: setuptools, wheel, ninja" "10 s"
install_part 3 torch "torch and torchvision, 2.5 GB to download" "1.5 min"
install_part 4 libraries "mmengine, mmdet, mmpretrain, test tools" "1 min"
install_mmcv
step 6 project "the project itself, and a check that everything loads" "30 s"
pip install --no-deps --no-build-isolation -e . || pip_failed "installing the project"
if ! verify; then
    rm -f "$STATE"/*.done
    die "the environment is not complete: $(tail -n 1 "$LOG" | cut -c1-200); run again, or remove it first (rm -rf .venv)"
fi
rm -rf "$TMPDIR"
fingerprint >"$STATE/stamp.part" && mv "$STATE/stamp.part" "$STATE/stamp"
say "setup_env: .venv is ready ($(elapsed $SECONDS))"
