import { withLock as withFolderLock } from '@vmkit/core/state-folder'

/**
 * Runs `task` while no other process, and no other call of this one, works on the machine.
 * @throws VMKitError `NOT_FOUND` when the machine is gone; `CONFLICT` when `signal` fires while somebody else holds it
 */
export function withLock<T>(
  { id, folder }: { id: string; folder: { path: string } },
  operation: string,
  signal: AbortSignal,
  task: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  return withFolderLock({ id, folder: folder.path }, operation, signal, () => task(signal))
}
