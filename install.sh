#!/bin/sh
# Installs the command `mesh` from this folder. Run it again to upgrade or repair.
set -eu
# a program is for everybody who can look into the prefix (root installs for all); keys and pools are not made here
umask 022

usage() {
  cat <<'TEXT'
usage: ./install.sh [--prefix DIR] [--only PART] [--uninstall]

  --prefix DIR   install below DIR (default: ~/.local): DIR/bin/mesh and DIR/lib/meshnet
  --only PART    what a machine needs that computes nothing: relay, control-plane, or relay,control-plane
  --uninstall    remove exactly what was installed there
  --help         this text

Needs npm and any Node from 18 on; Mesh brings its own Node 24.
State (keys, pools, shards) is in ~/.meshnet or $MESHNET_HOME and is never touched.
TEXT
}

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit "${3:-3}"
}

check_only() {
  case $only in
    relay | control-plane | relay,control-plane | control-plane,relay) ;;
    *) fail "--only wants relay, control-plane or relay,control-plane, got \"$only\"" './install.sh --help' 2 ;;
  esac
}

prefix=${HOME:+$HOME/.local}
action=install
only=''
while [ $# -gt 0 ]; do
  case $1 in
    --prefix) [ $# -ge 2 ] && [ -n "$2" ] || fail '--prefix needs a folder' './install.sh --help' 2; prefix=$2; shift 2 ;;
    --prefix=?*) prefix=${1#--prefix=}; shift ;;
    --only) [ $# -ge 2 ] || fail '--only needs a part' './install.sh --help' 2; only=$2; check_only; shift 2 ;;
    --only=*) only=${1#--only=}; check_only; shift ;;
    --uninstall) action=uninstall; shift ;;
    -h | --help) usage; exit 0 ;;
    *) fail "unknown option $1" './install.sh --help' 2 ;;
  esac
done
[ -n "$prefix" ] || fail 'HOME is not set' './install.sh --prefix DIR' 2
case $prefix in /*) ;; *) prefix=$(pwd)/$prefix ;; esac

source=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd -P)
target=$prefix/lib/meshnet
wrapper=$prefix/bin/mesh
# the second line of what we write to bin: how a later run knows that it is ours
mark='# written by install.sh of meshnet'

ours() { [ -f "$1/package.json" ] && grep -q '"name": "meshnet"' "$1/package.json"; }
our_wrapper() { [ -f "$wrapper" ] && [ "$(sed -n 2p "$wrapper" 2>/dev/null)" = "$mark" ]; }

check_place() {
  if [ -e "$target" ] && ! ours "$target"; then fail "$target exists and is not Mesh" 'choose another --prefix, or move that folder away'; fi
  if { [ -e "$wrapper" ] || [ -h "$wrapper" ]; } && ! our_wrapper; then fail "$wrapper exists and was not written by this script" 'choose another --prefix, or move that file away'; fi
}

# what an interrupted run left: its stage is of no use; the former version goes back if no new one took its place
tidy() {
  for left in "$prefix"/lib/.meshnet-stage.* "$prefix"/lib/.meshnet-old.*; do
    [ -d "$left" ] || continue
    owner=${left##*.}
    if [ "$owner" != $$ ] && ps -p "$owner" -o args= 2>/dev/null | grep -q install; then fail "another install.sh (process $owner) works in $prefix" 'wait for it to end, then try again'; fi
    case $left in
      *.meshnet-old.*) if [ ! -e "$target" ]; then mv "$left" "$target"; continue; fi ;;
    esac
    rm -rf "$left"
  done
}

uninstall() {
  tidy
  if [ ! -e "$target" ] && [ ! -e "$wrapper" ]; then
    printf 'nothing is installed in %s\n' "$prefix"
    return
  fi
  made=$(cat "$target/.made-folders" 2>/dev/null || true)
  rm -f "$wrapper" 2>/dev/null && rm -rf "$target" 2>/dev/null || fail "no permission to remove $target" 'run it as the user who installed it'
  # folders that the installation made, innermost first, if nothing else is in them
  printf '%s\n' "$made" | while IFS= read -r folder; do [ -z "$folder" ] || rmdir "$folder" 2>/dev/null || true; done
  printf 'removed %s and %s\nkept: ~/.meshnet (or $MESHNET_HOME) with keys and pools; remove it yourself if you want\n' "$wrapper" "$target"
}

# makes a folder and those above it; prints the ones it made, innermost first
make_folder() {
  missing=''
  path=$1
  while [ ! -d "$path" ] && [ "$path" != / ]; do
    missing="$missing$path
"
    path=$(dirname -- "$path")
  done
  mkdir -p "$1" 2>/dev/null || fail "cannot make $1" 'choose a folder of your own: ./install.sh --prefix DIR'
  printf '%s' "$missing"
}

quoted() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }

write_wrapper() {
  cat >"$1" <<TEXT
#!/bin/sh
$mark
root=$(quoted "$target")
node=\$root/node_modules/node/bin/node
flags=$(quoted "$node_flags")
[ -x "\$node" ] || { node=$(quoted "$fallback_node"); flags=; }
if [ ! -f "\$root/agent/main.ts" ]; then
  printf 'error: Mesh is not complete in %s\nhint: run install.sh again\n' "\$root" >&2
  exit 3
fi
# commands start in half the time when Node finds its modules compiled; where nothing can be written, it goes without
export NODE_COMPILE_CACHE="\${NODE_COMPILE_CACHE:-\$root/.cache/compiled}"
exec "\$node" \$flags "\$root/agent/main.ts" "\$@"
TEXT
  chmod 755 "$1"
}

stage=''
old=''
cleanup() {
  status=$?
  trap - EXIT
  if [ -n "$old" ] && [ -d "$old" ] && [ ! -e "$target" ]; then mv "$old" "$target"; fi
  [ -z "$stage" ] || rm -rf "$stage"
  [ -z "$old" ] || rm -rf "$old"
  rm -f "$wrapper.$$"
  exit "$status"
}

install() {
  command -v node >/dev/null 2>&1 || fail 'node is not there' 'install Node.js with npm (any Node from 18 on): https://nodejs.org'
  command -v npm >/dev/null 2>&1 || fail 'npm is not there' 'install npm (it comes with Node.js from https://nodejs.org)'
  made_lib=$(make_folder "$prefix/lib")
  made_bin=$(make_folder "$prefix/bin")
  [ -w "$prefix/lib" ] && [ -w "$prefix/bin" ] || fail "no permission to write in $prefix" 'choose a folder of your own: ./install.sh --prefix DIR'
  tidy
  trap cleanup EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP

  stage=$prefix/lib/.meshnet-stage.$$
  mkdir "$stage"
  for part in agent bench control-plane relay-server shared tools models package.json package-lock.json .npmrc README.md; do
    [ ! -e "$source/$part" ] || cp -R "$source/$part" "$stage/" || fail "cannot copy $part to $stage" 'check the free space (about 1 GB is needed) and the permissions'
  done
  find "$stage" -name '*.test.ts' -exec rm -f {} +
  # a clone that was made with umask 077 is readable for its owner alone
  chmod -R u+rwX,go+rX "$stage"
  # the first call installs; with --only it leaves the other parts out before
  fallback_node=$(node "$stage/tools/setup.mjs" ${only:+--only "$only"} --production --print-node --only-install)
  node_flags=$(node "$stage/tools/setup.mjs" --production --print-flags --only-install)
  # a Node that lies in the stage moves with it; any other is the fallback of the wrapper
  case $fallback_node in "$stage"/*) fallback_node=node ;; esac
  { cat "$target/.made-folders" 2>/dev/null || true; printf '%s\n%s\n' "$made_bin" "$made_lib"; } >"$stage/.made-folders"
  write_wrapper "$wrapper.$$"

  old=$prefix/lib/.meshnet-old.$$
  [ ! -e "$target" ] || mv "$target" "$old"
  mv "$stage" "$target"
  mv "$wrapper.$$" "$wrapper"

  printf 'installed %s (Mesh %s%s)\n' "$wrapper" "$("$wrapper" --version)" "${only:+, $only alone}"
  # of two parts the first one
  try="mesh ${only:-demo}"
  try=${try%%,*}
  case ":$PATH:" in
    *":$prefix/bin:"*) printf 'try: %s\n' "$try" ;;
    *) printf 'add it to your PATH, for example in ~/.profile:\n  export PATH=%s:"$PATH"\nthen try: %s\n' "$(quoted "$prefix/bin")" "$try" ;;
  esac
}

check_place
$action
