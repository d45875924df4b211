import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** A CA of this test alone, and what it signed, named as Docker names them. */
export interface Certificates {
  /** Has ca.pem, cert.pem and key.pem of a client. */
  client: string
  ca: string
  serverCert: string
  serverKey: string
}

/** Made with openssl below `folder`; the server's is for `127.0.0.1` only. */
export async function makeCertificates(folder: string): Promise<Certificates> {
  const client = join(folder, 'client')
  await mkdir(client, { recursive: true })
  const at = (name: string): string => join(folder, name)
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  await openssl([
    'req',
    '-x509',
    '-days',
    '2',
    '-subj',
    '/CN=vmkit test CA',
    ...key,
    '-keyout',
    at('ca-key.pem'),
    '-out',
    join(client, 'ca.pem'),
  ])
  await writeFile(at('server.ext'), 'subjectAltName = IP:127.0.0.1\nextendedKeyUsage = serverAuth\n')
  await writeFile(at('client.ext'), 'extendedKeyUsage = clientAuth\n')
  for (const [name, folderOfIt] of [
    ['server', folder],
    ['client', client],
  ] as const) {
    const [cert, keyFile] = name === 'client' ? ['cert.pem', 'key.pem'] : ['server.pem', 'server-key.pem']
    await openssl(['req', '-new', '-subj', `/CN=${name}`, ...key, '-keyout', join(folderOfIt, keyFile), '-out', at(`${name}.csr`)])
    const issuer = ['-CA', join(client, 'ca.pem'), '-CAkey', at('ca-key.pem'), '-CAcreateserial', '-days', '2']
    await openssl(['x509', '-req', '-in', at(`${name}.csr`), ...issuer, '-extfile', at(`${name}.ext`), '-out', join(folderOfIt, cert)])
  }
  return { client, ca: join(client, 'ca.pem'), serverCert: at('server.pem'), serverKey: at('server-key.pem') }
}

async function openssl(args: readonly string[]): Promise<void> {
  await promisify(execFile)('openssl', args)
}
