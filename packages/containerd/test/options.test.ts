/** The OCI spec as a process inside sees it: what every machine has, and what `driverOptions.containerd` changes. */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { describe, expect, it } from 'vitest'
import type { ContainerdMachineOptions } from '../src/driver.js'
import { config, on, setting, uidOf } from './setting.js'

const { runs, why, managerOf, left, prepare } = setting('options')

/** Docker's default capabilities, as moby's documentation lists them: bits of linux/capability.h. */
const DOCKERS = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31].reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n)
const NET_ADMIN = 1n << 12n
const MKNOD = 1n << 27n

describe.skipIf(!runs)(`the process on containerd 1.6${why}`, () => {
  prepare()

  async function inside(options: ContainerdMachineOptions) {
    const vm = await managerOf().create(config({ driverOptions: { containerd: options } }), on)
    await vm.start()
    const run = async (script: string) => (await vm.exec(['sh', '-c', `(${script}) 2>&1`])).stdout.trim()
    const status = await run('cat /proc/1/status')
    const line = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? ''
    return { vm, run, line, caps: BigInt(`0x${line('CapBnd')}`) }
  }

  it('has what Docker gives: capabilities, filter, hidden and read-only paths', async () => {
    const { vm, run, line, caps } = await inside({})
    expect(caps.toString(16)).toBe(DOCKERS.toString(16))
    expect([line('Seccomp'), line('NoNewPrivs')]).toEqual(['2', '0'])
    // Hidden: files are empty, folders too. Not every kernel has each.
    expect(await run('cat /proc/kcore /proc/keys /proc/timer_list /proc/interrupts 2>/dev/null | wc -c')).toBe('0')
    expect(await run('ls /proc/timer_list; ls -A /proc/acpi 2>/dev/null; ls -A /sys/firmware')).toBe('/proc/timer_list')
    expect(await run('echo 1 > /proc/sys/kernel/domainname')).toContain('Read-only file system')
    expect(await run('mkdir /sys/fs/x')).toContain('Read-only file system')
    expect(await run('mount -t tmpfs none /data')).toMatch(/denied|not permitted/)
    expect(await run('unshare -n true')).toContain('Operation not permitted')
    await vm.delete({ force: true })
    expect(await left([uidOf(vm)])).toEqual([])
  })

  it('has other rights where they are asked for', async () => {
    const all = await inside({ privileged: true })
    // All that there are: root of this host may itself lack one.
    const own = /^CapBnd:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? ''
    expect(all.caps).toBe(BigInt(`0x${own}`))
    expect(all.line('Seccomp')).toBe('0')
    expect(await all.run('mount -t tmpfs none /data && touch /data/x && ls /data')).toBe('x')
    const some = await inside({ capAdd: ['NET_ADMIN'], capDrop: ['CAP_MKNOD'], seccomp: 'unconfined', noNewPrivileges: true })
    expect(some.caps).toBe((DOCKERS | NET_ADMIN) & ~MKNOD)
    expect([some.line('Seccomp'), some.line('NoNewPrivs')]).toEqual(['0', '1'])
    const host = await inside({ pidMode: 'host', ipcMode: 'host' })
    expect(await host.run(`tr '\\0' ' ' < /proc/${process.pid}/cmdline`)).toContain('node')
    for (const { vm } of [all, some, host]) await vm.delete({ force: true })
  })

  it('has the names, files, limits and places that are asked for', async () => {
    const { vm, run, line } = await inside({
      readOnlyRootfs: true,
      tmpfs: { '/own': 'size=64k,mode=0700' },
      shmSize: 2 ** 20,
      hostname: 'box',
      domainname: 'in.example',
      dns: ['192.0.2.1'],
      dnsSearch: ['search.example'],
      extraHosts: ['db:192.0.2.2'],
      ulimits: [{ name: 'nofile', soft: 100, hard: 200 }],
      sysctls: { 'net.ipv4.ip_forward': '1' },
      groupAdd: [4711],
      cgroupParent: '/vmkit-containerd-test',
      cpusetCpus: '0',
      cpuShares: 512,
      oomScoreAdj: 100,
    })
    expect(await run('touch /x')).toContain('Read-only file system')
    expect(await run('stat -c %a /own; head -c 100000 /dev/zero > /own/x; stat -c %s /own/x')).toMatch(/^700\n.*\n65536$/s)
    expect(await run("df -k /dev/shm | tail -n 1 | awk '{ print $2 }'")).toBe('1024')
    expect(await run('hostname; cat /proc/sys/kernel/domainname')).toBe('box\nin.example')
    expect(await run('cat /etc/resolv.conf')).toMatch(/^nameserver 192\.0\.2\.1$/m)
    expect(await run('cat /etc/resolv.conf')).toMatch(/^search search\.example$/m)
    expect(await run('cat /etc/hosts')).toMatch(/^192\.0\.2\.2\s+db$/m)
    expect(await run('ulimit -Sn; ulimit -Hn')).toBe('100\n200')
    expect(await run('cat /proc/sys/net/ipv4/ip_forward')).toBe('1')
    expect(line('Groups').trim().split(' ')).toContain('4711')
    expect(await run('cat /proc/1/cgroup')).toContain('/vmkit-containerd-test/')
    expect(line('Cpus_allowed_list')).toBe(availableParallelism() > 1 ? '0' : line('Cpus_allowed_list'))
    expect(await run('cat /proc/1/oom_score_adj')).toBe('100')
    await vm.delete({ force: true })
    expect(await left([uidOf(vm)])).toEqual([])
  })

  it('runs on the snapshotter that is asked for, and on none that is not there', async () => {
    const manager = managerOf({ snapshotter: 'native' })
    const vm = await manager.create(config(), on)
    await vm.start()
    expect((await vm.info()).details).toMatchObject({ snapshotter: 'native' })
    expect((await vm.exec(['grep', '-c', ' / overlay', '/proc/mounts'])).stdout).toBe('0\n')
    await vm.files.write('/data/x', 'kept')
    await vm.snapshot('one')
    await vm.files.write('/data/x', 'lost')
    await vm.restore('one')
    expect(await vm.files.readText('/data/x')).toBe('kept')
    await vm.delete({ force: true })
    expect(await left([uidOf(vm)])).toEqual([])
    await expect(managerOf({ snapshotter: 'no-such' }).create(config(), on)).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      field: 'options.snapshotter',
      message: expect.stringContaining('no-such'),
    })
    expect(await left()).toEqual([])
  })
})
