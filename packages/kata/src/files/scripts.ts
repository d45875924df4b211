/** What runs in the guest: POSIX shell and programs that busybox, toybox and GNU have alike. `$1` is a path that begins with / or ./ */

/** Exit codes that none of the programs uses. */
export const EXIT = { absent: 41, folder: 42, noFile: 43, noFolder: 44, noProgram: 47 } as const

const NEED = `need() { for c; do command -v "$c" >/dev/null 2>&1 || { echo "$c" >&2; exit ${EXIT.noProgram}; }; done; }
`

/** `p`: the path behind a symbolic link; `d`: its folder. The x keeps newlines at the end of a name. */
const RESOLVE = `p=$1
if [ -L "$p" ]; then need readlink; p=$(readlink -f "$p" && echo x) || exit ${EXIT.absent}; p=\${p%?x}; fi
d=\${p%/*}
[ -n "$d" ] || d=/
`

export const READ = `${NEED}need cat
[ -e "$1" ] || exit ${EXIT.absent}
[ -d "$1" ] && exit ${EXIT.folder}
[ -f "$1" ] || exit ${EXIT.noFile}
exec cat "$1"`

/** stdin becomes `$2` beside the file: a content that breaks off never has its name. */
export const RECEIVE = `${NEED}need cat mkdir chmod mv rm
${RESOLVE}[ -d "$p" ] && exit ${EXIT.folder}
umask 022
mkdir -p "$d" || exit
umask 077
exec cat >"$d/$2"`

/** A file that is a mount point of its own, such as /etc/hosts, cannot be replaced: it is written in place. */
export const PLACE = `${NEED}${RESOLVE}[ -d "$p" ] && exit ${EXIT.folder}
t=$d/$2
if [ -e "$p" ]; then need stat chown; o=$(stat -c %u:%g "$p") && chown "$o" "$t" || exit; fi
chmod "$3" "$t" || exit
mv -f "$t" "$p" 2>/dev/null && exit
cat "$t" >"$p" && chmod "$3" "$p" && rm -f "$t"`

export const DISCARD = `${NEED}${RESOLVE}exec rm -f "$d/$2"`

/** Entries in groups: their names, each ended by NUL, an empty name, and what \`stat\` says of them, ended by NUL. */
export const LIST = `${NEED}need stat
[ -e "$1" ] || exit ${EXIT.absent}
[ -d "$1" ] || exit ${EXIT.noFolder}
cd "$1" || exit
flush() {
  [ $# -eq 0 ] && return
  printf '%s\\0' "$@"
  printf '\\0'
  stat -c '%f %s %Y %n' "$@" 2>/dev/null
  printf '\\0'
}
set --
for f in ./* ./.*; do
  case "$f" in ./.|./..) continue;; esac
  [ -e "$f" ] || [ -L "$f" ] || continue
  set -- "$@" "$f"
  [ $# -lt 200 ] && continue
  flush "$@"
  set --
done
flush "$@"
exit 0`

export const REMOVE = `${NEED}need rm
[ -e "$1" ] || [ -L "$1" ] || exit ${EXIT.absent}
exec rm -rf "$1"`

export const PACK = `${NEED}need tar
[ -e "$1" ] || exit ${EXIT.absent}
p=$1
if [ -d "$p" ]; then p=$(cd "$p" && pwd -P && echo x) || exit; p=\${p%?x}; p=\${p%/}; d=\${p%/*}; else
${RESOLVE}fi
b=\${p##*/}
exec tar -cf - -C "\${d:-/}" -- "\${b:-.}"`

/** As the tar has it: owners and permissions too. */
export const UNPACK = `${NEED}need tar mkdir
[ -e "$1" ] && ! [ -d "$1" ] && exit ${EXIT.noFolder}
mkdir -p "$1" && cd "$1" && exec tar -xpf -`

/** Both files, each ended by NUL; one that is not there is empty. */
export const ACCOUNTS = `${NEED}need cat
for f in /etc/passwd /etc/group; do [ -f "$f" ] && cat "$f"; printf '\\0'; done`
