import { lazily, validate } from '@vmkit/core/driver'
import * as z from '@vmkit/core/schema'

export interface RegistryAuth {
  username?: string
  password?: string
  /** An identity token instead of user and password. */
  identityToken?: string
}

/** Options of the driver. Without `socketPath`, `host` and `context` it looks for the engine as the Docker CLI does. */
export interface DockerOptions {
  /** UNIX socket of the engine. */
  socketPath?: string
  /** `unix://…`, `tcp://host:port`, `ssh://user@host`. */
  host?: string
  /** Name of a Docker context. */
  context?: string
  /** Paths of PEM files, for `tcp://` with TLS. `verify` defaults to true. */
  tls?: { ca?: string; cert?: string; key?: string; verify?: boolean }
  /** An ssh config file for `ssh://`, as `ssh -F` takes it. Default: ssh's own. */
  sshConfig?: string
  /** Credentials by registry host, before those of the Docker config file. */
  registries?: Readonly<Record<string, RegistryAuth>>
  /** How long a candidate endpoint may take to answer while the engine is looked for. Default 3000; 35000 for `ssh://`. */
  connectTimeoutMs?: number
}

const schema = lazily(() => {
  const text = z.string().check(z.minLength(1))
  return z.strictObject({
    socketPath: z.optional(text),
    host: z.optional(text),
    context: z.optional(text),
    tls: z.optional(
      z.strictObject({ ca: z.optional(text), cert: z.optional(text), key: z.optional(text), verify: z.optional(z.boolean()) }),
    ),
    sshConfig: z.optional(text),
    registries: z.optional(
      z.record(
        text,
        z.strictObject({ username: z.optional(z.string()), password: z.optional(z.string()), identityToken: z.optional(z.string()) }),
      ),
    ),
    connectTimeoutMs: z.optional(
      z.number().check(z.refine((value) => Number.isFinite(value) && value > 0, 'a number of milliseconds above 0')),
    ),
  })
})

/** @throws VMKitError `INVALID_CONFIG` */
export function parseOptions(options: DockerOptions | undefined): DockerOptions {
  return validate(schema() as unknown as z.ZodMiniType<DockerOptions>, options ?? {}, {
    root: 'options',
    driver: 'docker',
    isSecret: (path) => path[0] === 'registries',
  })
}
