import type { Workload } from './options.js'

const IDLE = 'sleep 2147483 & wait $!'

/**
 * A workload as a command for machines that have a POSIX shell with the usual small programs; Debian's and Alpine's do.
 * `serve` needs node, python3 or busybox nc as well.
 */
export function shellCommand(workload: Workload): string[] {
  const { script, args = [] } = SCRIPTS[workload.does](workload as never)
  return ['sh', '-c', script, 'sh', ...args]
}

interface Script {
  script: string
  args?: string[]
}

type Scripts = { [K in Workload['does']]: (workload: Extract<Workload, { does: K }>) => Script }

// Texts and values always travel as arguments: no quoting, nothing for the shell to read.
const SCRIPTS: Scripts = {
  idle: () => ({ script: `trap 'kill $!; exit 0' TERM INT; ${IDLE}` }),
  exit: ({ code, afterMs = 0 }) => ({
    script: afterMs === 0 ? 'exit "$1"' : 'sleep "$2"; exit "$1"',
    args: [String(code), seconds(afterMs)],
  }),
  print: ({ stdout = '', stderr = '', code = 0, idles }) => ({
    script: `trap 'kill $!; exit 0' TERM; printf %s "$1"; printf %s "$2" >&2; ${idles ? IDLE : 'exit "$3"'}`,
    args: [stdout, stderr, String(code)],
  }),
  pieces: ({ bytes }) => ({
    script: 'for piece; do printf "$piece"; sleep 0.05; done',
    args: bytes.map((piece) => piece.map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')),
  }),
  stubborn: () => ({ script: "trap '' TERM; echo ready; while :; do sleep 1; done" }),
  tree: () => ({ script: "trap '' TERM; sleep 2147483 & a=$!; sleep 2147483 & echo $$ $a $!; while :; do sleep 1; done" }),
  // A process that is dead and not yet collected is a zombie: it counts as gone.
  alive: ({ pids }) => ({
    script:
      'for pid; do state=$(sed "s/^.*) //" "/proc/$pid/stat" 2>/dev/null) || continue; case "$state" in Z*|X*|"") ;; *) exit 0 ;; esac; done; exit 1',
    args: pids.map(String),
  }),
  flood: ({ bytes }) => ({ script: 'yes "$1" | head -c "$2"', args: ['x'.repeat(99), String(bytes)] }),
  tick: ({ everyMs }) => ({
    script: `trap 'kill $!; exit 0' TERM; i=1; while :; do echo "tick $i"; i=$((i+1)); sleep "$1" & wait $!; done`,
    args: [seconds(everyMs)],
  }),
  serve: ({ port }) => ({
    script:
      'if command -v node >/dev/null; then exec node -e "$2" "$1"; elif command -v python3 >/dev/null; then exec python3 -c "$3" "$1"; ' +
      "else printf '#!/bin/sh\\necho hello\\n' >/tmp/hello; chmod +x /tmp/hello; trap 'kill $!; exit 0' TERM; nc -lk -p \"$1\" -e /tmp/hello & wait $!; fi",
    args: [String(port), NODE_SERVER, PYTHON_SERVER],
  }),
  echo: () => ({ script: 'exec cat' }),
  env: ({ name }) => ({ script: `awk 'BEGIN { printf "%s", ENVIRON[ARGV[1]] }' "$1"`, args: [name] }),
  args: ({ values }) => ({ script: `for value; do printf '%s\\0' "$value"; done`, args: values }),
  pwd: () => ({ script: 'pwd' }),
  size: () => ({
    script: `show() { set -- $(stty size); echo "$2 $1"; }; trap show WINCH; trap 'kill $!; exit 0' TERM; show; while :; do sleep 2147483 & wait $!; done`,
  }),
  die: ({ signal }) => ({ script: 'kill -s "$1" $$; exit 99', args: [signal.replace(/^SIG/, '')] }),
  hog: () => ({ script: 'exec tail /dev/zero' }),
}

const NODE_SERVER =
  "require('net').createServer((s)=>{s.on('error',()=>{});s.end('hello\\n')}).listen(+process.argv[1]);process.on('SIGTERM',()=>process.exit(0))"
const PYTHON_SERVER = [
  'import socket,sys,signal',
  'signal.signal(signal.SIGTERM,lambda *a:sys.exit(0))',
  's=socket.socket();s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1);s.bind(("",int(sys.argv[1])));s.listen()',
  'while True:',
  ' c,_=s.accept();c.sendall(b"hello\\n");c.close()',
].join('\n')

function seconds(ms: number): string {
  return (ms / 1000).toFixed(3)
}
