# Shared by the engines' files.

fail() {
  echo "scripts/backends: $*" >&2
  exit 1
}

have() { command -v "$1" >/dev/null; }

# A download that is cut is tried again; another apt of this host, such as an upgrade in the night, is waited for.
apt_patience=(-o Acquire::Retries=5 -o DPkg::Lock::Timeout=300)

# apt_install PACKAGE...: installs those that are missing; asks the network only then.
apt_install() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  again apt_update_install "${missing[@]}"
}

apt_update_install() {
  apt-get update -qq "${apt_patience[@]}" &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${apt_patience[@]}" --no-install-recommends "$@"
}

# again COMMAND [ARGUMENT...]: three times at most. A list of packages may be older than the archive that it is of, and the archive
# may be renewed between the two: then a package of the list is not there any more.
again() {
  "$@" && return
  sleep 5
  "$@" && return
  sleep 20
  "$@"
}

# How often a daemon is asked whether it answers, a tenth of a second apart. Its first start makes its stores, on a host that builds the
# repository at the same time, so that it may take many times what it takes alone.
daemon_tries=900

# suite_root SUITE NAME: where suite_unpack puts packages of another suite of Debian.
suite_root() { echo "${VMKIT_SUITES_DIR:-/var/lib/vmkit-suites}/$1/$2"; }

# suite_unpack SUITE NAME PACKAGE...: unpacks packages of another suite below suite_root SUITE NAME, unless they are there. A private
# apt state leaves the host's sources as they are; the address comes from them.
suite_unpack() {
  local suite=$1 name=$2 root folder options deb
  shift 2
  root=$(suite_root "$suite" "$name")
  [ -d "$root" ] && return
  folder=$(dirname "$root")
  mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
  options=(-qq "${apt_patience[@]}" -o "Dir::Etc::sourcelist=$folder/suite.sources" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root)
  suite_update "$suite" "$folder" "${options[@]}"
  rm -rf "$folder/debs-$name" "$root.new"
  mkdir "$folder/debs-$name" "$root.new"
  (cd "$folder/debs-$name" && again suite_download "${@/%//$suite}")
  for deb in "$folder/debs-$name"/*.deb; do dpkg -x "$deb" "$root.new"; done
  rm -r "$folder/debs-$name"
  # Last, so that what is there is whole.
  mv "$root.new" "$root"
}

# suite_download PACKAGE/SUITE...: by the options of suite_unpack.
suite_download() {
  apt-get "${options[@]}" download "$@" || { apt-get "${options[@]}" update && apt-get "${options[@]}" download "$@"; }
}

declare -A suite_is_updated=()

# suite_update SUITE FOLDER APT-OPTION...: once per run.
suite_update() {
  local suite=$1 folder=$2 uri
  shift 2
  [ -n "${suite_is_updated[$suite]:-}" ] && return
  # Some of the files do not exist, which is no failure.
  uri=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null || true; } |
    grep -v '^#' | grep -oE 'https?://[^ ]+/debian/?( |$)' | sed -n 1p | tr -d ' ')
  [ -n "$uri" ] || fail "no Debian archive in the host's apt sources"
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' "$uri" "$suite" >"$folder/suite.sources"
  again apt-get "$@" update
  suite_is_updated[$suite]=yes
}
