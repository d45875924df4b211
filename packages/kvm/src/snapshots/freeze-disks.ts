/** Puts a new top over every disk of a machine, so that what is below stays as it is from now on. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createDisk } from '../disk/image-file.js'
import { addLayer, chainOf, newLayerName } from '../disk/layers.js'
import { ownDisks, withTops } from '../disk/own-disks.js'
import type { Host } from '../host.js'
import type { Qmp } from '../qmp/client.js'
import type { Machine } from '../state/store.js'
import { liveTops } from './live.js'

export interface Frozen {
  machine: Machine
  /** By disk id: the layer that is frozen now. */
  layers: Record<string, string>
}

/** For a machine without a QEMU. */
export async function freezeAtRest(host: Host, machine: Machine): Promise<Frozen> {
  const layers: Record<string, string> = {}
  const tops: Record<string, string> = {}
  for (const { id, path } of ownDisks(machine)) {
    layers[id] = path
    tops[id] = await addLayer(machine.folder.path, id, path)
  }
  return { machine: setTops(host, machine, tops), layers }
}

export function setTops(host: Host, machine: Machine, tops: Readonly<Record<string, string>>): Machine {
  return host.store.update(machine, { boot: { ...machine.boot, disks: withTops(machine.boot.disks, tops) } })
}

/**
 * For a machine with a QEMU, at one instant for all disks. The record names the new tops before QEMU writes to them: if
 * this process dies in between, the next start finds an overlay that is empty, and all that was written below it.
 */
export async function freezeLive(host: Host, machine: Machine, qmp: Qmp): Promise<Frozen> {
  const { path } = machine.folder
  const layers: Record<string, string> = {}
  const tops: Record<string, string> = {}
  const actions: { type: string; data: Record<string, string> }[] = []
  const nodes: string[] = []
  let updated: Machine | undefined
  try {
    for (const [id, { file, node }] of Object.entries(await liveTops(machine, qmp))) {
      const top = newLayerName(id)
      const overlay = `${id}-${top.split('.')[1]}`
      layers[id] = file
      tops[id] = top
      await createDisk({
        path: join(path, top),
        base: { path: file, format: 'qcow2', virtualSize: (await chainOf(path, file)).virtualSize },
      })
      await qmp.execute('blockdev-add', {
        driver: 'qcow2',
        'node-name': overlay,
        discard: 'unmap',
        file: { driver: 'file', filename: top },
        backing: null,
      })
      nodes.push(overlay)
      actions.push({ type: 'blockdev-snapshot', data: { node, overlay } })
    }
    updated = setTops(host, machine, tops)
    if (actions.length > 0) await qmp.execute('transaction', { actions })
    return { machine: updated, layers }
  } catch (error) {
    if (updated) setTops(host, updated, layers)
    for (const node of nodes) await qmp.execute('blockdev-del', { 'node-name': node }).catch(() => {})
    for (const top of Object.values(tops)) await rm(join(path, top), { force: true })
    throw error
  }
}
