# Shared by the engines' files.

fail() {
  echo "scripts/backends: $*" >&2
  exit 1
}

have() { command -v "$1" >/dev/null; }

# apt_install PACKAGE...: installs those that are missing; asks the network only then.
apt_install() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}
