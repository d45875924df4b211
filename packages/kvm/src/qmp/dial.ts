import { createConnection, type Socket } from 'node:net'
import { VMKitError } from '@vmkit/core/driver'
import { abortReason, qemuGone } from './errors.js'

// EAGAIN: QEMU listens with a backlog of one, and somebody waits in it already.
const RETRY_MS = 5

/** A connection to a UNIX socket of QEMU. Others may hold it: the kernel queues one, the rest asks again until `signal` fires. */
export async function dial(path: string, signal: AbortSignal): Promise<Socket> {
  for (;;) {
    try {
      return await connectOnce(path, signal)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (error instanceof VMKitError) throw error
      if (code === 'EACCES' || code === 'EPERM') {
        throw new VMKitError('PERMISSION_DENIED', `This user may not use ${path}`, { driver: 'kvm', cause: error })
      }
      if (code !== 'EAGAIN') throw qemuGone(path, error)
      await delay(RETRY_MS, signal)
    }
  }
}

function connectOnce(path: string, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(abortReason(signal))
    const socket = createConnection({ path })
    const abort = (): void => {
      socket.destroy()
      reject(abortReason(signal))
    }
    signal.addEventListener('abort', abort, { once: true })
    socket.once('connect', () => {
      signal.removeEventListener('abort', abort)
      socket.removeListener('error', reject)
      resolve(socket)
    })
    socket.once('error', (error) => {
      signal.removeEventListener('abort', abort)
      reject(error)
    })
  })
}

function delay(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer)
      reject(abortReason(signal))
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', abort)
      resolve()
    }, ms)
    signal.addEventListener('abort', abort, { once: true })
  })
}
