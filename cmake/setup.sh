# What ./cairn and ./test share: Debian packages, libtorch, configure and build. Sourced, with root=… set.
# Everything is said on stderr; what runs quietly leaves its output in build/*.log, whose end is shown when it fails.

build_packages=(g++ cmake ninja-build ccache mold pkg-config nlohmann-json3-dev libyaml-cpp-dev libfmt-dev
  libexpected-dev libcli11-dev libutf8proc-dev libpcre2-dev libpng-dev libjpeg62-turbo-dev libwebp-dev
  libboost1.81-dev)
test_packages=(python3 libgtest-dev libgmock-dev libbenchmark-dev librapidcheck-dev clang-14 libclang-rt-14-dev
  chromium)
# For the build for 64-bit ARM: what runs here, and the libraries that are unpacked into its sysroot.
aarch64_packages=(g++-aarch64-linux-gnu qemu-user)
sysroot_packages=(libstdc++-12-dev nlohmann-json3-dev libyaml-cpp-dev libfmt-dev libexpected-dev libcli11-dev
  libutf8proc-dev libpcre2-dev libpng-dev libjpeg62-turbo-dev libwebp-dev libboost1.81-dev libgtest-dev libgmock-dev)
oldest_torch=2.11 newest_torch=2.13 fetched_torch=2.13.0 fetched_torch_npu=2.13.0
cpu_wheels=https://download.pytorch.org/whl/cpu

say() { printf 'cairn: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# One set-up at a time: a second start waits here, and then finds everything done.
lock() {
  mkdir -p "$root/build"
  exec {lock_fd}>"$root/build/lock"
  flock -n "$lock_fd" && return
  say "another start is setting up; waiting for it"
  flock "$lock_fd"
}
unlock() { exec {lock_fd}>&-; }

# quietly LOG COMMAND…: output into build/LOG.log; its last lines are shown when the command fails.
quietly() {
  local log=$root/build/$1.log
  shift
  "$@" >"$log" 2>&1 </dev/null && return
  tail -n 25 "$log" >&2
  return 1
}

# --- Debian packages ---

missing_packages() {
  command -v dpkg-query >/dev/null || return 0  # no Debian: CMake names what it cannot find
  local have package
  have=" $(dpkg-query -W -f='${db:Status-Status}:${Package} ' "$@" 2>/dev/null || true)"
  for package; do [[ $have == *" installed:$package "* ]] || printf '%s ' "$package"; done
}

# install_packages PACKAGE…: those that are missing, as root or through sudo when it asks no password.
install_packages() {
  local missing as_root=() line
  missing=$(missing_packages "$@")
  missing=${missing% }
  [[ -n $missing ]] || return 0
  line="apt-get install -y --no-install-recommends $missing"
  if [[ $EUID != 0 ]]; then
    sudo -n true 2>/dev/null || die "Debian packages are missing; install them with: sudo $line"
    as_root=(sudo -n)
  fi
  say "installing Debian packages: $missing"
  as_root+=(env DEBIAN_FRONTEND=noninteractive)
  # The package lists may be old or absent, so a first failure is answered with an update.
  # shellcheck disable=SC2086
  "${as_root[@]}" $line >"$root/build/packages.log" 2>&1 </dev/null && return
  if ! { quietly update "${as_root[@]}" apt-get update && quietly packages "${as_root[@]}" $line; }; then
    die "these Debian packages could not be installed; when the network is back: apt-get update && $line"
  fi
}

# Debian's arm64 packages into build/sysroot-aarch64. They are unpacked, not installed: several -dev packages (of
# libyaml-cpp, for one) cannot stand beside those of this machine, and apt would remove these.
set_up_aarch64() {
  local into=$root/build/sysroot-aarch64 part=$root/build/sysroot-aarch64.part wanted="${sysroot_packages[*]}" apt deb
  install_packages "${build_packages[@]}" "${aarch64_packages[@]}"
  [[ $(cat "$into/wanted" 2>/dev/null) != "$wanted" ]] || return 0
  say "fetching Debian's arm64 libraries into build/sysroot-aarch64 (the only time)"
  rm -rf "$into" "$part"
  mkdir -p "$part"/{state/lists/partial,cache/archives/partial,root}
  : >"$part/status"
  apt=(apt-get -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Install-Recommends=false
    -o APT::Sandbox::User= -o Debug::NoLocking=1 -o Dir::State="$part/state" -o Dir::State::status="$part/status"
    -o Dir::Cache="$part/cache")
  # shellcheck disable=SC2086
  if ! { quietly sysroot "${apt[@]}" update && quietly sysroot "${apt[@]}" install -y --download-only $wanted; }; then
    die "Debian's arm64 packages could not be fetched: bring the network back"
  fi
  for deb in "$part"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$part/root"; done
  printf '%s\n' "$wanted" >"$part/root/wanted"
  mv "$part/root" "$into"
  rm -rf "$part"
}

# --- libtorch ---

version_of() { sed -n "s/^__version__ *= *'\([0-9.]*\).*/\1/p" "$1/version.py" 2>/dev/null || true; }
older() { [[ $1 != "$2" && $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]; }  # versions: $1 < $2
is_torch() { [[ -e $1/include/ATen/core/Tensor.h && -e $1/lib/libtorch_cpu.so && -n $(version_of "$1") ]]; }

python_torch() {
  command -v python3 >/dev/null || return 0
  (cd / && python3 -c 'import importlib.util as u
s = u.find_spec("torch")
print(list(s.submodule_search_locations or [""])[0] if s else "")') 2>/dev/null || true
}

# Sets `torch` to the libtorch to build with; empty when it must be fetched.
find_torch() {
  local version
  torch=${CAIRN_TORCH:-}
  if [[ -n $torch ]]; then
    is_torch "$torch" || die "CAIRN_TORCH=$torch is no torch folder: no version.py, include/ or lib/libtorch_cpu.so"
    torch=$(readlink -f -- "$torch")
  else
    torch=$(python_torch)
    if [[ -z $torch ]] || ! is_torch "$torch" || older "$(version_of "$torch")" $oldest_torch; then
      torch=
      ! is_torch "$root/build/torch/torch" || torch=$root/build/torch/torch
    fi
    [[ -n $torch ]] || return 0
  fi
  version=$(version_of "$torch")
  ! older "$version" $oldest_torch || die "torch $version in $torch is too old: Cairn needs $oldest_torch or newer"
  ! older $newest_torch.999 "$version" || say "torch $version is untested; tested are $oldest_torch and $newest_torch"
}

pip() { PIP_USER=0 PIP_BREAK_SYSTEM_PACKAGES=1 PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip "$@"; }
pip_into() { pip install --no-compile --root-user-action=ignore --target "$@" >&2 </dev/null; }

# Fetches the pip wheel into build/torch. Without a GPU that answers, that is the CPU wheel where one is within reach;
# else the CUDA wheel of PyPI alone, without the gigabytes of CUDA libraries that it would bring: libtorch_cpu needs two
# small ones of them to start.
fetch_torch() {
  local into=$root/build/torch.part wanted=torch==$fetched_torch index=() deps=(--no-deps) needs cuda
  rm -rf "$into"
  if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then
    deps=()
  elif pip --retries 0 --timeout 10 index versions torch --extra-index-url "$cpu_wheels" 2>/dev/null |
    grep -qF "$fetched_torch+cpu"; then
    wanted+=+cpu
    index=(--extra-index-url "$cpu_wheels")
  else
    say "the CPU wheels of $cpu_wheels are out of reach; taking the larger wheel of the package index"
  fi
  say "fetching $wanted with pip into build/torch (the only time)"
  pip_into "$into" "${deps[@]}" "${index[@]}" "$wanted" ||
    die "pip could not fetch $wanted; bring the network back, or point CAIRN_TORCH to the torch folder of a PyTorch"
  needs='s/^Requires-Dist: cuda-toolkit\[[^]]*\]==\([0-9.]*\).*/\1/p'
  cuda=$(sed -n "$needs" "$into"/torch-*.dist-info/METADATA | head -n 1)
  if [[ -n $cuda && ${#deps[@]} != 0 ]]; then
    pip_into "$into" --upgrade "cuda-toolkit[cudart,cupti]==$cuda" || die "pip could not fetch cuda-toolkit $cuda"
  fi
  rm -rf "$root/build/torch"
  mv "$into" "$root/build/torch"
  torch=$root/build/torch/torch
}

# --- torch_npu, for tests only: what tests/fake_cann runs ---

# Sets `torch_npu` to the folder of its wheel in build/torch_npu, fetched when it is not there: the one for Python 3.11,
# whatever Python fetches it. Its libpython comes from Debian.
fetch_torch_npu() {
  local into=$root/build/torch_npu.part wanted=torch_npu==$fetched_torch_npu
  install_packages libpython3.11
  torch_npu=$root/build/torch_npu/torch_npu
  if [[ -e $torch_npu/lib/libtorch_npu.so && -d $root/build/torch_npu/torch_npu-$fetched_torch_npu.dist-info ]]; then
    return
  fi
  python3 -m pip --version >/dev/null 2>&1 || install_packages python3-pip
  say "fetching $wanted with pip into build/torch_npu (the only time)"
  rm -rf "$into"
  pip_into "$into" --no-deps --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 \
    --platform manylinux_2_28_x86_64 "$wanted" ||
    die "pip could not fetch $wanted; bring the network back, or unpack its wheel for cp311 and x86_64 into build/torch_npu"
  rm -rf "$root/build/torch_npu"
  mv "$into" "$root/build/torch_npu"
}

# Whether torch_npu can run here: its wheel is for x86_64 and for one minor version of torch.
fits_torch_npu() { [[ $(uname -m) == x86_64 && $(version_of "$torch") == "${fetched_torch_npu%.*}".* ]]; }

# --- nvcc ---

# Sets `nvcc` to the CUDA compiler that a build finds, empty when there is none (src/ops/cuda/CMakeLists.txt).
find_nvcc() {
  local found
  nvcc=
  for found in "${CUDA_HOME:-/nowhere}/bin/nvcc" "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc \
    "$root/build/cuda/nvidia/cu13/bin/nvcc"; do
    [[ ! -x $found ]] || { nvcc=$found && return; }
  done
}

# Fetches a CUDA compiler with pip into build/cuda, so that the kernels are compiled where nobody has installed one. For
# tests: without it the program is built without them. One release's parts: compiler, its headers and code generator,
# the runtime, and CCCL, whose headers the runtime's own include.
fetch_nvcc() {
  local into=$root/build/cuda.part
  find_nvcc
  [[ -z $nvcc ]] || return 0
  say "fetching a CUDA compiler with pip into build/cuda (the only time)"
  rm -rf "$into"
  pip_into "$into" --no-deps nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 || return
  rm -rf "$root/build/cuda"
  mv "$into" "$root/build/cuda"
  find_nvcc
}

# --- configure and build ---

# As many compilers as there are cores, and memory for them: a unit that reads libtorch's headers takes a gigabyte.
jobs_that_fit() {
  local cores memory limit
  cores=$(nproc)
  memory=$(awk '/^MemAvailable/ {print int($2 / 1024)}' /proc/meminfo)
  limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || echo max)
  [[ $limit == max ]] || ((limit / 1048576 > memory)) || memory=$((limit / 1048576))
  ((memory / 1500 < cores)) && cores=$((memory / 1500))
  echo $((cores > 1 ? cores : 1))
}

# configure PRESET [ARGUMENT…]
configure() {
  local preset=$1 cache=$root/build/$1/CMakeCache.txt fresh=()
  shift
  # A checkout that was moved or copied with its build folder must forget where it was.
  if [[ -e $cache ]] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$cache"; then fresh=(--fresh); fi
  (cd "$root" && quietly "configure-$preset" cmake --preset "$preset" "${fresh[@]}" "$@") ||
    die "CMake could not configure build/$preset"
}

# build PRESET [TARGET…]: one line that counts on a terminal, a line for every tenth of the way elsewhere.
build() {
  local preset=$1 jobs log=$root/build/build-$1.log
  shift
  jobs=$(jobs_that_fit)
  say "building build/$preset, $jobs at a time"
  export NINJA_STATUS='%f/%t %e '
  ninja -C "$root/build/$preset" -j "$jobs" "$@" </dev/null 2>&1 | tee "$log" | progress && return
  grep -v '^[0-9]*/[0-9]* [0-9.]* ' "$log" | tail -n 60 >&2
  die "the build failed; its whole output is in build/build-$preset.log"
}
progress() {
  local count seconds _ tenths=0 now
  while read -r count seconds _; do
    [[ $count =~ ^([0-9]+)/([0-9]+)$ ]] || continue
    now=$((10 * BASH_REMATCH[1] / BASH_REMATCH[2]))
    if [[ -t 2 ]]; then
      printf '\r\033[Kcairn: built %s in %s s' "$count" "${seconds%.*}" >&2
    elif ((now > tenths)); then
      say "built $count in ${seconds%.*} s"
    fi
    tenths=$now
  done
  [[ ! -t 2 ]] || printf '\n' >&2
}

# set_up TARGET…: everything that the release build of these targets needs, and the build.
set_up() {
  local packages=("${build_packages[@]}") torch torch_npu='' started
  [[ $1 == cairn ]] || packages+=("${test_packages[@]}")
  find_torch
  [[ -n $torch ]] || python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
  install_packages "${packages[@]}"
  [[ -n $torch ]] || fetch_torch
  if [[ $1 == all || $1 == fake_cann_test ]]; then
    if fits_torch_npu; then
      fetch_torch_npu
    elif [[ $1 != all ]]; then
      die "the fake CANN needs x86_64 and torch ${fetched_torch_npu%.*}, not $(uname -m) and torch $(version_of "$torch")"
    fi
  fi
  mkdir -p "$root/build/release"
  started=$root/build/release/started
  printf '%s\n' "$torch" >"$started"
  configure release -DCAIRN_TORCH="$torch" ${torch_npu:+-DCAIRN_TORCH_NPU="$torch_npu"}
  build release "$@"
  # The file keeps its time, so what changed while the build ran is built again.
  [[ $1 != cairn && $1 != all ]] || mv "$started" "$root/build/release/ready"
}
