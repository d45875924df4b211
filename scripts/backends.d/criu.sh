# CRIU 4 of Debian 13, which saves and restores the memory of containers: Debian 12's own fails on new kernels. It comes with all its
# libraries, so it runs beside an older libc. Engines find it as `criu` when criu_bin is first on their PATH.

criu_bin() { echo "$(suite_root trixie criu)/vmkit-bin"; }

criu_install() {
  local root
  # On the host: iptables, which it calls to hold a container's connections still.
  apt_install iptables
  suite_unpack trixie criu criu libbsd0 libc6 libffi8 libgmp10 libgnutls30t64 libhogweed6t64 libidn2-0 libjansson4 libmd0 libmnl0 libnet1 \
    libnettle8t64 libnftables1 libnftnl11 libnl-3-200 libp11-kit0 libprotobuf-c1 libtasn1-6 libunistring5 libuuid1 libxtables12
  root=$(suite_root trixie criu)
  mkdir -p "$(criu_bin)"
  cat >"$(criu_bin)/criu" <<SH
#!/bin/sh
exec $root/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path $root/usr/lib/x86_64-linux-gnu $root/usr/sbin/criu "\$@"
SH
  chmod 0755 "$(criu_bin)/criu"
}

# No daemon.
criu_start() { :; }
criu_stop() { :; }

criu_prove() {
  local said
  said=$("$(criu_bin)/criu" check 2>&1) || { echo "criu check: ${said:-cannot be run}"; return 1; }
  "$(criu_bin)/criu" --version | sed -n '1s/Version: /CRIU /p'
}

criu_env() { echo "VMKIT_CRIU_DIR=$(criu_bin)"; }
