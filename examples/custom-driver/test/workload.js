/** The kit's workloads for a thread: the one argument is the workload as JSON. */
import { parentPort } from 'node:worker_threads'

const work = JSON.parse(process.argv[2])
const forever = () => setInterval(() => {}, 2 ** 30)

switch (work.does) {
  case 'idle':
    parentPort.on('message', (signal) => signal === 'SIGTERM' && process.exit(0))
    break
  case 'exit':
    setTimeout(() => process.exit(work.code), work.afterMs ?? 0)
    break
  case 'stubborn':
    forever()
    break
  case 'die':
    process.exit(99)
}
