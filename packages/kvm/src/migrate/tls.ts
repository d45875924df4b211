/** Certificates in the folder layout of QEMU's `tls-creds-x509`. Source: https://www.qemu.org/docs/master/system/tls.html */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { invalidConfig } from '@vmkit/core/driver'
import { DRIVER } from '../errors.js'

export interface Credentials {
  ca: Buffer
  cert: Buffer
  key: Buffer
}

export type Endpoint = 'server' | 'client'

/** @throws VMKitError `INVALID_CONFIG` naming the option */
export async function readCredentials(folder: string, endpoint: Endpoint): Promise<Credentials> {
  const names = { ca: 'ca-cert.pem', cert: `${endpoint}-cert.pem`, key: `${endpoint}-key.pem` }
  try {
    const [ca, cert, key] = await Promise.all([names.ca, names.cert, names.key].map((name) => readFile(join(folder, name))))
    return { ca, cert, key } as Credentials
  } catch (error) {
    throw invalidConfig('options.migration.tls', `a folder with ${Object.values(names).join(', ')}`, folder, {
      driver: DRIVER,
      cause: error,
    })
  }
}

/** For QEMU: the same files. */
export function credentialsObject(id: string, folder: string, endpoint: Endpoint): Record<string, unknown> {
  return { 'qom-type': 'tls-creds-x509', id, dir: folder, endpoint, 'verify-peer': true }
}
