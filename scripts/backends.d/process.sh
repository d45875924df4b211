# The process driver runs on the host itself: `script` gives it terminals, cgroups give it limits and a freezer. Its supervisor is
# tested under three shells.

process_install() { apt_install bsdutils util-linux mount dash bash busybox-static; }

process_start() {
  process_cgroup >/dev/null && return
  mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
}

# The hierarchy is the host's: it stays.
process_stop() { :; }

# Prints the folder below which a memory-limited cgroup can be made: v1's memory hierarchy, or v2's root.
process_cgroup() {
  if [ -d /sys/fs/cgroup/memory ]; then
    echo /sys/fs/cgroup/memory
  elif grep -qsw memory /sys/fs/cgroup/cgroup.controllers; then
    echo /sys/fs/cgroup
  else
    return 1
  fi
}

process_prove() {
  local parent group
  [ "$(script -qec 'echo terminal' /dev/null </dev/null | tr -d '\r')" = terminal ] || { echo 'script(1) opens no terminal'; return 1; }
  parent=$(process_cgroup) || { echo 'no memory controller below /sys/fs/cgroup'; return 1; }
  group=$parent/vmkit-prove.$$
  mkdir "$group" || return 1
  # A process that joins a cgroup and ends proves that limits can be set on this host.
  sh -c 'echo $$ >"$1/cgroup.procs"' sh "$group" || { rmdir "$group"; return 1; }
  rmdir "$group"
  echo "Linux $(uname -r), cgroups at $parent, $(script --version)"
}

process_env() { :; }
