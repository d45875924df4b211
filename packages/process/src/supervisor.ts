/**
 * The supervisor: one POSIX shell per running machine. It is what knows the exit when the app is gone.
 *
 * It is a file and not `sh -c`, because bash tells of a child's signal only when it reads a script file. That message on the
 * shell's own stderr is what tells SIGKILL from `exit 137`; dash, bash and busybox ash all print it for every signal but
 * SIGINT and SIGPIPE.
 */
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { lazily } from '@vmkit/core/driver'
import { randomSuffix } from '@vmkit/core/state-folder'

/** In the state folder; what happens to machines, a line each. */
export const JOURNAL = 'events.log'

const SCRIPT = `# vmkit process supervisor
# usage: sh FILE folder run boot-id log-bytes stdin stdout stderr recorder cgroups setsid fallocate program [argument ...]
# recorder: self when this script writes down main, other when main does that itself
dir=$1 run=$2 boot=$3 cap=$4 input=$5 output=$6 errors=$7 recorder=$8 cgroups=$9
shift 9
setsid=$1 fallocate=$2
shift 2
journal=$dir/../../../${JOURNAL}
id=\${dir##*/}
exec 2>"$dir/message.$run"

# Only one supervisor may own a run: the file is made exclusively.
set -C
read -r self </proc/self/stat
echo "$boot $self" >"$dir/supervisor.$run" || exit 1
set +C

# Keeps the logs below their cap: blocks before the floor are given back, and byte offsets stay what they are.
trim() {
  [ -f "$1" ] || return
  size=$(wc -c <"$1")
  floor=0
  [ -f "$1.floor" ] && while read -r line; do floor=$line; done <"$1.floor"
  [ $((size - floor)) -gt "$cap" ] || return
  next=$(((size - cap / 2) / 4096 * 4096))
  echo "$next" >>"$1.floor"
  "$fallocate" --punch-hole --offset "$floor" --length $((next - floor)) "$1"
}
keeper=
if [ -n "$fallocate" ]; then
  (
    # wait is interrupted at once, and no sleep is left for init to reap. SIGKILL, because a child that was only just forked
    # may still have this trap.
    trap 'kill -9 $!; wait; exit' TERM
    while :; do
      sleep 2 &
      wait $!
      # The supervisor was killed: there is nothing to keep any more.
      kill -0 $$ 2>/dev/null || exit
      trim "$dir/stdout"
      trim "$dir/stderr"
      trim "$dir/console"
    done
  ) </dev/null >/dev/null 2>&1 &
  keeper=$!
fi

# Holds stdin open, so that it does not end when nobody is attached.
holder=
if [ -p "$input" ]; then
  sleep 2147483647 <>"$input" >/dev/null 2>&1 &
  holder=$!
  echo "$holder" >"$dir/holder.$run"
fi

(
  for procs in $cgroups; do echo 0 >"$procs/cgroup.procs" || exit 125; done
  # Told first: a start that has returned is not told later.
  if [ "$recorder" = self ]; then
    read -r self </proc/self/stat
    echo "started $id $run" >>"$journal"
    echo "$self" >"$dir/main.$run"
  fi
  # Another account reads its environment itself.
  if [ -f "$dir/account.$run" ]; then exec 9<"$dir/account.$run"; else . "$dir/env.$run"; fi
  exec "$setsid" -- "$@"
) <"$input" >>"$dir/$output" 2>>"$dir/$errors"
status=$?

how=code
# script(1) hands on its child's end as a number, whatever it was.
[ "$recorder" = other ] && how=relayed
[ -s "$dir/message.$run" ] && how=signal
oom=-
for group in $cgroups; do
  for file in "$group/memory.events" "$group/memory.oom_control"; do
    [ -r "$file" ] && while read -r key value; do [ "$key" = oom_kill ] && oom=$value; done <"$file"
  done
done
[ -r "$dir/main.$run" ] && read -r main rest <"$dir/main.$run" && kill -9 -"$main" 2>/dev/null
read -r uptime rest </proc/uptime
# Told first, as the start is: once the exit is there the machine may be deleted or started again, and that is told later.
echo "stopped $id $run $status $how $oom $uptime" >>"$journal"
echo "$status $how $oom $uptime" >"$dir/exit.$run"
[ -z "$holder" ] || { kill -9 "$holder" && wait "$holder"; } 2>/dev/null
[ -z "$keeper" ] || { kill "$keeper" && wait "$keeper"; }
`

const nameOfScript = lazily(() => {
  // Not imported: an app that only looks at machines should not pay for it.
  const { createHash } = process.getBuiltinModule('node:crypto')
  return `supervisor-${createHash('sha256').update(SCRIPT).digest('hex').slice(0, 16)}.sh`
})

/** Puts the script in the state folder, unless it is there. Its name is its hash: a running shell reads on in its own. */
export function installSupervisor(stateDir: string): string {
  const path = join(stateDir, nameOfScript())
  if (existsSync(path)) return path
  mkdirSync(stateDir, { recursive: true, mode: 0o700 })
  const temporary = `${path}.${randomSuffix()}`
  writeFileSync(temporary, SCRIPT, { mode: 0o600 })
  renameSync(temporary, path)
  return path
}
