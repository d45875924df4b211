import { mock } from '@vmkit/mock/driver'

/** A driver that forgets a timer. */
export function leaky() {
  setInterval(() => {}, 60_000)
  return mock()
}
