import { existsSync, readdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { end, remove, start } from '../src/lifecycle.js'
import { pause } from '../src/running.js'
import { clone } from '../src/snapshots/clone.js'
import { deleteSnapshot, listSnapshots, restore, snapshot } from '../src/snapshots/snapshots.js'
import { readRun, statusOf } from '../src/state/run.js'
import type { Machine } from '../src/state/store.js'
import { missingQemu } from './bare-qemu.js'
import type { Count } from './counter.js'
import { bed, ctx, endLine, problemOf, said, secondRun, untilCount } from './counting-machine.js'

const layersOf = ({ folder }: Machine) => readdirSync(folder.path).filter((name) => name.endsWith('.qcow2')).length
const isEnough = (all: readonly Count[]) => all.filter(({ disk }) => disk !== undefined).length >= 3
const afterwards = (machine: Machine, from: number) => untilCount(machine, (all) => isEnough(all.slice(from)))

describe.skipIf(missingQemu)(`snapshots${missingQemu ? `: ${missingQemu}` : ''}`, { timeout: 240_000 }, () => {
  it('memory and disk are of one instant, and the machine goes on from there', async () => {
    await using place = await bed()
    const { host } = place
    const machine = await place.counting()
    const made = await snapshot(host, machine, 'a/../b "c",', { memory: true }, ctx)
    expect(made).toMatchObject({ tag: 'a/../b "c",', memory: true })
    expect(made.sizeBytes).toBeGreaterThan(100_000)
    expect(statusOf(machine.folder).state).toBe('running')
    const before = await afterwards(machine, said(machine).length)
    expect(problemOf(before), 'the snapshot is nothing to the guest').toBeUndefined()

    expect(await restore(host, machine, 'a/../b "c",', ctx)).toEqual({ id: machine.id })
    expect(statusOf(machine.folder).state).toBe('running')
    const after = secondRun(await untilCount(machine, (all) => isEnough(secondRun(all))))
    expect(after[0]?.memory).toBeLessThan(before.at(-1)?.memory ?? 0)
    expect(problemOf(after)).toBeUndefined()
    await restore(host, machine, 'a/../b "c",', ctx)
    expect(statusOf(machine.folder).state).toBe('running')
  })

  it('of a paused machine, twice, and it stays paused', async () => {
    await using place = await bed()
    const { host } = place
    const machine = await place.counting()
    await pause(machine, 'pause', ctx)
    await snapshot(host, machine, 'one', { memory: true }, ctx)
    expect(statusOf(machine.folder).state).toBe('paused')
    await snapshot(host, machine, 'two', { memory: true }, ctx)
    await snapshot(host, machine, 'disk', { memory: false }, ctx)
    expect(statusOf(machine.folder).state).toBe('paused')
    await pause(machine, 'resume', ctx)
    expect(problemOf(await afterwards(machine, said(machine).length))).toBeUndefined()
    await restore(host, machine, 'one', ctx)
    await restore(host, machine, 'two', ctx)
    expect((await listSnapshots(machine)).map(({ tag, memory }) => [tag, memory])).toEqual([
      ['one', true],
      ['two', true],
      ['disk', false],
    ])
  })

  it('of the disk: restored the machine is stopped, and starts from what the disk was', async () => {
    await using place = await bed()
    const { host } = place
    const machine = await place.counting()
    // That it has read 128 says that it was written; a number is printed before.
    await untilCount(machine, (all) => all.some(({ disk }) => disk === 128))
    await snapshot(host, machine, 'clean', { memory: false }, ctx)
    await afterwards(machine, said(machine).length)
    await restore(host, machine, 'clean', ctx)
    expect(statusOf(machine.folder).state).toBe('stopped')
    const length = endLine(machine)
    await start(host, machine, ctx)
    const first = (await afterwards(machine, length)).slice(length).find(({ disk }) => disk !== undefined)
    expect(first?.memory, 'it counts from the beginning').toBe(64)
    expect(first?.disk, 'and finds what the disk held then').toBeGreaterThanOrEqual(128)
  })

  it('keep what others stand on, and leave nothing when they go', async () => {
    await using place = await bed()
    const { host } = place
    const machine = await place.counting()
    for (const tag of ['one', 'two', 'three']) await snapshot(host, machine, tag, { memory: false }, ctx)
    expect(layersOf(machine)).toBe(4)
    await restore(host, machine, 'one', ctx)
    expect(layersOf(machine), 'the top that was thrown away is gone').toBe(4)
    await deleteSnapshot(host, machine, 'three', ctx)
    expect(layersOf(machine)).toBe(3)
    await deleteSnapshot(host, machine, 'two', ctx)
    await deleteSnapshot(host, machine, 'one', ctx)
    expect(layersOf(machine)).toBe(2)
    await expect(deleteSnapshot(host, machine, 'one', ctx)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(restore(host, machine, 'one', ctx)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await start(host, machine, ctx)
    await afterwards(machine, said(machine).length)
  })

  it('deleted in the middle of a chain take nothing that later ones, or clones, stand on', async () => {
    await using place = await bed()
    const { host } = place
    const machine = await place.counting()
    const written: Record<string, number> = {}
    for (const tag of ['one', 'two', 'three']) {
      written[tag] = (await afterwards(machine, said(machine).length)).at(-1)?.disk ?? 0
      await snapshot(host, machine, tag, { memory: false }, ctx)
    }
    const { id } = await clone(host, machine, { tag: 'two', name: 'copy', labels: {} }, ctx)
    await deleteSnapshot(host, machine, 'two', ctx)
    expect(layersOf(machine), 'the layer stays below the later one').toBe(4)
    /** What the disk holds at the first look after a start. */
    const found = async (which: Machine): Promise<number> => {
      const length = existsSync(which.folder.consoleLog) ? endLine(which) : 0
      await start(host, which, ctx)
      return (await afterwards(which, length)).slice(length).find(({ disk }) => disk !== undefined)?.disk ?? -1
    }
    await restore(host, machine, 'three', ctx)
    expect(await found(machine)).toBeGreaterThanOrEqual(written.three as number)
    await restore(host, machine, 'one', ctx)
    await deleteSnapshot(host, machine, 'three', ctx)
    expect(layersOf(machine), 'the base, what one froze, and the new top').toBe(2)
    expect(await found(machine)).toBeGreaterThanOrEqual(written.one as number)
    await remove(host, machine, true, ctx)
    const copy = host.store.get(id)
    expect(await found(copy), 'the clone has all that it stands on').toBeGreaterThanOrEqual(written.two as number)
  })

  it('are refused with the reason, and leave nothing', async () => {
    await using place = await bed()
    const { host } = place
    const machine = await place.counting()
    await snapshot(host, machine, 'one', { memory: false }, ctx)
    await expect(snapshot(host, machine, 'one', { memory: true }, ctx)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    const run = readRun(machine.folder)
    if (run) await end(host, machine, run, ctx.signal)
    await expect(snapshot(host, machine, 'stopped', { memory: true }, ctx)).rejects.toMatchObject({ code: 'INVALID_STATE' })
    await snapshot(host, machine, 'at rest', { memory: false }, ctx)
    expect((await listSnapshots(machine)).length).toBe(2)
    expect(layersOf(machine)).toBe(3)
  })

  it('that is aborted leaves the machine running', async () => {
    await using place = await bed()
    const { host } = place
    const machine = await place.counting()
    const controller = new AbortController()
    const making = snapshot(host, machine, 'one', { memory: true }, { ...ctx, signal: controller.signal })
    await untilCount(machine, () => readdirSync(machine.folder.path).length > 0)
    controller.abort()
    await expect(making).rejects.toMatchObject({ code: 'ABORTED' })
    expect(statusOf(machine.folder).state).toBe('running')
    expect(await listSnapshots(machine)).toEqual([])
    expect(readdirSync(machine.folder.snapshots)).toEqual([])
    expect(problemOf(await afterwards(machine, said(machine).length))).toBeUndefined()
  })
})
