import { hasCode } from './errors.js'

/** Clean-up that an engine which went away still owes: it is done before the next call that reaches it. */
export interface Debts {
  owe(work: () => Promise<void>): void
  /** `undefined` when nothing is owed. Never rejects: what the engine refuses is given up, what it does not answer is kept. */
  settle(): Promise<void> | undefined
}

export function debts(): Debts {
  const owed = new Set<() => Promise<void>>()
  let settling: Promise<void> | undefined
  const settleAll = async (): Promise<void> => {
    for (const work of owed) {
      const isKept = await work().then(
        () => false,
        (error: unknown) => hasCode(error, 'BACKEND_UNAVAILABLE'),
      )
      if (isKept) return
      owed.delete(work)
    }
  }
  return {
    owe: (work) => void owed.add(work),
    settle() {
      if (owed.size === 0) return undefined
      // Callers at the same time wait for one another's: none may see what is to go.
      settling ??= settleAll().finally(() => {
        settling = undefined
      })
      return settling
    },
  }
}
