/** What containerd takes for an identifier (its `identifiers` package): parts of letters and digits between single separators. */
export const IDENTIFIER = /^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$/
