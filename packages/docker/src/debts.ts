import { hasCode } from './errors.js'

/** Clean-up that an engine which went away still owes: it is done before the next call that reaches it. */
export interface Debts {
  owe(work: () => Promise<void>): void
  /** Cleans up now, or when the engine is back. Never rejects: what the engine refuses is given up. */
  undo(work: () => Promise<void>): Promise<void>
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
    async undo(work) {
      await work().catch((failure: unknown) => {
        if (hasCode(failure, 'BACKEND_UNAVAILABLE')) owed.add(work)
      })
    },
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
