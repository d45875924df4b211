/**
 * For drivers that keep a folder per machine: its lock across processes, JSON files, logs that are plain files, and the
 * processes that work on it. An entry of its own, because drivers whose engine keeps the state need nothing of it.
 */
export { bootId, formatIdentity, type Identity, identify, isAlive, ownIdentity, parseIdentity, signalProcess } from './identity.js'
export { readJson, writeJson } from './json-file.js'
export { type Claim, claimsAmong, type LockTarget, withLock } from './lock.js'
export { readLogFloor } from './log-file.js'
export { followOutput, type LogTarget, type OutputFollower, readLogs } from './logs.js'
export { hasEnded, type ProcessStat, parseStat, readStat, TICKS_PER_SECOND } from './process-stat.js'
export { randomSuffix } from './random-suffix.js'
export { errno, systemError } from './system-error.js'
export { type Changes, changes, untilChange } from './watch.js'
export { whyNotWritable } from './writable.js'
