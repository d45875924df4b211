/** Makes a value when it is first asked for. For schemas: to build all of them takes longer than the rest of importing core. */
export function lazily<T>(make: () => T): () => T {
  let made: { value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}
