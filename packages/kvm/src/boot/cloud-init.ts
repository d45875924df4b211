/** The NoCloud seed of cloud-init: files on a disk with the label `cidata` (cloud-init documentation, "NoCloud"). Pure. */
import { invalidConfig, type MachineConfig } from '@vmkit/core/driver'
import { DRIVER } from '../errors.js'
import { isoImage } from './iso9660.js'

const LABEL = 'cidata'

/** What the first line of user-data may be, else cloud-init ignores it all ("User-data formats"). */
const FORMATS = ['#cloud-config', '#!', '#include', '#cloud-boothook', '#part-handler', '## template:', 'Content-Type:', 'MIME-Version:']

/**
 * The seed of a machine. The instance id is the machine's own unless meta-data says one, so that a machine is set up once.
 * @throws VMKitError `INVALID_CONFIG` naming the part of `config.cloudInit` that cloud-init would ignore without a word
 */
export function cloudInitSeed(config: Pick<MachineConfig, 'name' | 'cloudInit'>, machineId: string): Buffer {
  const { userData = '#cloud-config\n{}\n', metaData, networkConfig } = config.cloudInit ?? {}
  if (!FORMATS.some((start) => userData.startsWith(start))) {
    throw invalidConfig('config.cloudInit.userData', `a text that begins with one of ${FORMATS.join(', ')}`, undefined, {
      driver: DRIVER,
      operation: 'create',
    })
  }
  return isoImage(LABEL, [
    { name: 'user-data', content: Buffer.from(userData) },
    { name: 'meta-data', content: Buffer.from(metaDataOf(config.name, machineId, metaData)) },
    ...(networkConfig === undefined ? [] : [{ name: 'network-config', content: Buffer.from(networkConfig) }]),
  ])
}

/** JSON is YAML: so what is added needs no quoting of ours. Keys that are given stay as they are. */
function metaDataOf(name: string, machineId: string, given = ''): string {
  const defaults = { 'instance-id': `vmkit-${machineId}`, 'local-hostname': name }
  const missing = Object.entries(defaults).filter(([key]) => !new RegExp(`^["']?${key}["']?\\s*:`, 'm').test(given))
  const lines = missing.map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`)
  if (given.trimStart().startsWith('{')) return given
  return `${lines.join('')}${given}`
}
