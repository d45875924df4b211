import { lazily } from '../lazily.js'
import * as z from '../schema.js'
import { parseBytes, parseDuration } from '../units.js'
import type { CloudInitConfig, DeviceConfig, MachineConfig } from './types.js'
import { expectationOf } from './validate.js'

const NAME_RULE = "a name of letters, digits, '_', '.' and '-', that starts with a letter or digit, at most 63 long"
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/

/** Labels under this prefix are vmkit's own. */
export const RESERVED_LABEL_PREFIX = 'vmkit.'

/** How a machine is stopped that does not say how. */
// No signal: an image may name its own, such as SIGQUIT.
export const DEFAULT_STOP: MachineConfig['stop'] = { graceMs: 10_000 }

// signal(7). Not `os.constants.signals`: a guest may run another system than this host.
const SIGNALS: ReadonlySet<string> = new Set(
  (
    'HUP INT QUIT ILL TRAP ABRT IOT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ ' +
    'VTALRM PROF WINCH IO POLL PWR SYS'
  )
    .split(' ')
    .map((name) => `SIG${name}`),
)

function text(expected: string, test: (value: string) => boolean) {
  return z.string(expected).check(z.refine((value) => test(value) && !value.includes('\0'), expected))
}

function numberWhere(expected: string, test: (value: number) => boolean) {
  return z.number(expected).check(z.refine(test, expected))
}

function unit(parse: (value: number | string) => number, expected: string) {
  return z.pipe(
    z.union([z.number(), z.string()], expected),
    z.transform((value, ctx) => {
      const problem = expectationOf(() => parse(value))
      if (problem === undefined) return parse(value)
      ctx.issues.push({ code: 'custom', message: problem, input: value })
      return 0
    }),
  )
}

/** Text by name. zod's own record drops a name `__proto__` without a word. */
function textRecord(key: z.ZodMiniType<string, string>, value: z.ZodMiniType<string, string>) {
  return z.pipe(z.custom<Record<string, string>>(hasNoProto, NO_PROTO), z.record(key, value))
}

const NO_PROTO = 'an object without a field `__proto__`'

function hasNoProto(value: unknown): boolean {
  return typeof value !== 'object' || value === null || !Object.hasOwn(value, '__proto__')
}

export const name = lazily(() => text(NAME_RULE, (value) => NAME.test(value)))
export const nonEmpty = lazily(() => text('a text that is not empty and has no NUL', (value) => value !== ''))
export const anyText = lazily(() => text('a text without NUL', () => true))
export const absolutePath = lazily(() => text('an absolute path', (value) => value.startsWith('/')))
// Loaded when it is asked for: node:net takes 5 ms of an import.
const ip = lazily(() => text('an IP address', (value) => process.getBuiltinModule('node:net').isIP(value) !== 0))
const mac = lazily(() => text("a MAC address such as '52:54:00:12:34:56'", (value) => /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(value)))
export const reference = lazily(() =>
  text("an image reference or path without spaces, not starting with '-'", (value) => /^[^\s\p{Cc}-][^\s\p{Cc}]*$/u.test(value)),
)
export const signal = lazily(() =>
  text("a signal name such as 'SIGTERM'", (value) => SIGNALS.has(value) || /^SIGRT(MIN(\+\d{1,2})?|MAX(-\d{1,2})?)$/.test(value)),
)
export const port = lazily(() => numberWhere('a port from 1 to 65535', (value) => Number.isInteger(value) && value >= 1 && value <= 65535))
const hostPort = lazily(() =>
  numberWhere('a port from 0 (any free one) to 65535', (value) => Number.isInteger(value) && value >= 0 && value <= 65535),
)
export const mode = lazily(() =>
  numberWhere('permission bits from 0 to 0o7777', (value) => Number.isInteger(value) && value >= 0 && value <= 0o7777),
)
export const positiveInt = lazily(() => numberWhere('a whole number from 1', (value) => Number.isSafeInteger(value) && value >= 1))
export const wholeNumber = lazily(() => numberWhere('a whole number from 0', (value) => Number.isSafeInteger(value) && value >= 0))
export const cpus = lazily(() => numberWhere('a number of CPUs above 0', (value) => Number.isFinite(value) && value > 0 && value <= 65536))
export const memory = lazily(() =>
  unit((value) => {
    const size = parseBytes(value)
    return size > 0 ? size : parseBytes(-1)
  }, "a number of bytes or a size such as '512MiB'"),
)
export const duration = lazily(() => unit(parseDuration, "a number of milliseconds or a duration such as '30s'"))

const envName = lazily(() => text("a variable name without '=' and NUL", (value) => value !== '' && !value.includes('=')))
const labelName = lazily(() =>
  text(
    `a label name that is not empty and does not start with '${RESERVED_LABEL_PREFIX}'`,
    (value) => value !== '' && !value.startsWith(RESERVED_LABEL_PREFIX),
  ),
)

export const env = lazily(() => textRecord(envName(), anyText()))
export const labels = lazily(() => textRecord(labelName(), anyText()))
export const user = lazily(() =>
  text("a user name or number, with ':group' when wanted", (value) => /^[A-Za-z0-9_][\w.-]*(:[A-Za-z0-9_][\w.-]*)?$/.test(value)),
)
export const command = lazily(() =>
  z.array(anyText()).check(z.refine((value) => value.length > 0 && value[0] !== '', 'a program and its arguments')),
)

const mount = lazily(() =>
  z.pipe(
    z.strictObject({ source: absolutePath(), target: absolutePath(), readOnly: z.optional(z.boolean()) }),
    z.transform((value) => ({ ...value, readOnly: value.readOnly ?? false })),
  ),
)
const volume = lazily(() =>
  z.pipe(
    z.strictObject({ name: name(), target: absolutePath(), readOnly: z.optional(z.boolean()) }),
    z.transform((value) => ({ ...value, readOnly: value.readOnly ?? false })),
  ),
)
const portMapping = lazily(() =>
  z.pipe(
    z.strictObject({ guest: port(), host: z.optional(hostPort()), hostIp: z.optional(ip()), protocol: z.optional(z.enum(['tcp', 'udp'])) }),
    z.transform((value) => ({ host: 0, hostIp: '127.0.0.1', protocol: 'tcp' as const, ...defined(value) })),
  ),
)
const networkObject = lazily(() =>
  z.strictObject({ name: name(), aliases: z.optional(z.array(name())), ip: z.optional(ip()), mac: z.optional(mac()) }),
)
const network = lazily(() =>
  z.pipe(
    z.union([name(), networkObject()]),
    z.transform((value) => (typeof value === 'string' ? { name: value, aliases: [] } : { ...value, aliases: value.aliases ?? [] })),
  ),
)
const deviceId = lazily(() => ({ id: z.optional(name()) }))
export const device = lazily(
  () =>
    z.discriminatedUnion('type', [
      z.strictObject({
        ...deviceId(),
        type: z.literal('cdi'),
        name: text("a CDI name such as 'vendor.com/gpu=0'", (value) => /^[\w.-]+\/[\w.-]+=[\w.:-]+$/.test(value)),
      }),
      z.strictObject({
        ...deviceId(),
        type: z.literal('gpu'),
        count: z.optional(z.union([positiveInt(), z.literal('all')])),
        ids: z.optional(z.array(nonEmpty())),
        capabilities: z.optional(z.array(nonEmpty())),
      }),
      z.strictObject({
        ...deviceId(),
        type: z.literal('host'),
        path: absolutePath(),
        guestPath: z.optional(absolutePath()),
        permissions: z.optional(text("some of 'r', 'w', 'm'", (value) => /^[rwm]{1,3}$/.test(value))),
      }),
      z.strictObject({
        ...deviceId(),
        type: z.literal('pci'),
        address: text("a PCI address such as '0000:3b:00.0'", (value) => /^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/i.test(value)),
      }),
      z.strictObject({
        ...deviceId(),
        type: z.literal('disk'),
        path: absolutePath(),
        readOnly: z.optional(z.boolean()),
        format: z.optional(z.enum(['raw', 'qcow2'])),
      }),
      z.strictObject({ ...deviceId(), type: z.literal('nic'), network: z.optional(name()), mac: z.optional(mac()) }),
    ]) as unknown as z.ZodMiniType<DeviceConfig>,
)

const policy = lazily(() => z.enum(['no', 'on-failure', 'always', 'unless-stopped']))
const restart = lazily(() =>
  z.pipe(
    z.union([policy(), z.strictObject({ policy: policy(), maxRetries: z.optional(wholeNumber()) })]),
    z.transform((value) => (typeof value === 'string' ? { policy: value } : value)),
  ),
)
const stop = lazily(() =>
  z.pipe(
    z.strictObject({ signal: z.optional(signal()), graceMs: z.optional(duration()) }),
    z.transform((value) => ({ ...DEFAULT_STOP, ...defined(value) })),
  ),
)
const file = lazily(() =>
  z.pipe(
    z.strictObject({
      path: nonEmpty(),
      content: z.union([z.string(), z.instanceof(Uint8Array)], 'a text or a Uint8Array'),
      mode: z.optional(mode()),
    }),
    z.transform((value) => ({ ...value, mode: value.mode ?? 0o644 })),
  ),
)
const cloudInit = lazily(
  (): z.ZodMiniType<CloudInitConfig> =>
    z.strictObject({
      userData: z.optional(z.string()),
      metaData: z.optional(z.string()),
      networkConfig: z.optional(z.string()),
    }),
)

const shape = lazily(() =>
  z.strictObject({
    name: z.optional(name()),
    image: z.optional(reference()),
    rootfs: z.optional(absolutePath()),
    disk: z.optional(z.strictObject({ image: z.optional(nonEmpty()), size: z.optional(memory()) })),
    kernel: z.optional(z.strictObject({ path: absolutePath(), initrd: z.optional(absolutePath()), cmdline: z.optional(anyText()) })),
    command: z.optional(command()),
    args: z.optional(z.array(anyText())),
    env: z.optional(env()),
    workdir: z.optional(absolutePath()),
    user: z.optional(user()),
    tty: z.optional(z.boolean()),
    stdin: z.optional(z.boolean()),
    cpus: z.optional(cpus()),
    memory: z.optional(memory()),
    pids: z.optional(positiveInt()),
    mounts: z.optional(z.array(mount())),
    volumes: z.optional(z.array(volume())),
    ports: z.optional(z.array(portMapping())),
    networks: z.optional(z.array(network())),
    devices: z.optional(z.array(device())),
    labels: z.optional(labels()),
    restart: z.optional(restart()),
    stop: z.optional(stop()),
    pull: z.optional(z.enum(['missing', 'always', 'never'])),
    files: z.optional(z.array(file())),
    cloudInit: z.optional(cloudInit()),
    ttl: z.optional(duration()),
    driverOptions: z.optional(z.pipe(z.custom<Record<string, unknown>>(hasNoProto, NO_PROTO), z.record(z.string(), z.unknown()))),
  }),
)

/** Everything but the random default name, which is not the schema's to make. */
export const configSchema = lazily(() =>
  z.pipe(
    shape(),
    z.transform((value, ctx): Omit<MachineConfig, 'name'> & { name?: string } => {
      const sources = [
        value.image && 'image',
        value.rootfs && 'rootfs',
        value.disk?.image && 'disk.image',
        value.kernel && 'kernel',
      ].filter((source) => typeof source === 'string')
      const kernelWithDisk = sources.length === 2 && sources.includes('kernel') && sources.includes('disk.image')
      if (sources.length > 1 && !kernelWithDisk) {
        ctx.issues.push({
          code: 'custom',
          message: `at most one source, not ${sources.join(' and ')} together`,
          input: value,
          path: [sources[1]?.split('.')[0] as string],
        })
      }
      // zod's result is ours to fill in; spreading it into a literal with this many fields takes 30 µs.
      return Object.assign(value, {
        env: value.env ?? {},
        tty: value.tty ?? false,
        stdin: value.stdin ?? false,
        mounts: value.mounts ?? [],
        volumes: value.volumes ?? [],
        ports: value.ports ?? [],
        networks: value.networks ?? [],
        devices: value.devices ?? [],
        labels: value.labels ?? {},
        stop: value.stop ?? { ...DEFAULT_STOP },
        pull: value.pull ?? 'missing',
        files: value.files ?? [],
        driverOptions: value.driverOptions ?? {},
      })
    }),
  ),
)

function defined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as T
}
