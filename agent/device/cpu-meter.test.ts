import assert from 'node:assert/strict'
import { describe, it, test } from 'node:test'
import { CpuMeter, type CpuSources, readCores, systemSources, usableCores } from './cpu-meter.ts'
import {
  parseBusySeconds,
  parseCpuList,
  parseUsedSeconds,
  readAllowedCpus,
  readCpuQuotas,
  readPhysicalCores,
} from './cpu-sources.ts'

/** A machine as its files tell; `undefined` where there is none. */
const machine = (files: Readonly<Record<string, string>>, usable = 4): CpuSources => ({
  read: (file) => files[file],
  names: (folder) =>
    Object.keys(files).flatMap((file) =>
      file.startsWith(`${folder}/`) ? [file.slice(folder.length + 1).split('/')[0]] : [],
    ),
  clock: () => 0,
  usable: () => usable,
})

/** Four hardware threads on two cores, as Intel numbers them. */
const cpuinfo = [0, 1, 2, 3].map((cpu) => `processor\t: ${cpu}\nphysical id\t: 0\ncore id\t\t: ${cpu % 2}\n`).join('\n')
const status = (cpus: string): string =>
  `Name:\tnode\nCpus_allowed:\tf\nCpus_allowed_list:\t${cpus}\nMems_allowed_list:\t0\n`

test('lists of processors', () => {
  for (const [text, want] of [
    ['0-3,8', [0, 1, 2, 3, 8]],
    ['5\n', [5]],
    ['', []],
    ['x,2', [2]],
  ] as const)
    assert.deepEqual(parseCpuList(text), want, text)
  assert.deepEqual(readAllowedCpus(machine({ '/proc/self/status': status('1,3') }).read), [1, 3])
  assert.equal(readAllowedCpus(machine({}).read), undefined)
})

test('physical cores: pairs of hardware threads count once, and only those that may be used', () => {
  const cores = (files: Readonly<Record<string, string>>, usable?: number): number =>
    readCores(machine(files, usable)).cores
  assert.equal(cores({ '/proc/cpuinfo': cpuinfo }), 2)
  assert.equal(cores({ '/proc/cpuinfo': cpuinfo, '/proc/self/status': status('0-3') }), 2)
  assert.equal(cores({ '/proc/cpuinfo': cpuinfo, '/proc/self/status': status('0,2') }, 2), 1)
  assert.equal(cores({ '/proc/cpuinfo': cpuinfo, '/proc/self/status': status('0,1') }, 2), 2)
  assert.equal(cores({ '/proc/cpuinfo': 'processor\t: 0\nmodel name\t: arm\n\nprocessor\t: 1\n' }, 8), 8)
  assert.equal(cores({}, 3), 3)
  assert.equal(readPhysicalCores(machine({}).read, undefined), undefined)
  assert.ok(usableCores() >= 1 && usableCores() <= systemSources.usable())
})

test('time at work: of the processors that count, without waiting for disks, with what the host took', () => {
  const stat = 'cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 20 30 5000 700 1 2 50 0 0\ncpu1 1000 0 0 0 0 0 0 0 0 0\nintr 5 0\n'
  assert.equal(parseBusySeconds(stat, [0]), 2.03)
  assert.equal(parseBusySeconds(stat, undefined), 12.03)
  assert.equal(parseBusySeconds(stat, [7]), undefined)
  assert.equal(parseBusySeconds(undefined, [0]), undefined)
  assert.equal(parseUsedSeconds(`12 (a ) b) S ${Array.from({ length: 10 }, () => 1).join(' ')} 250 50 7 7`), 3)
  assert.equal(parseUsedSeconds('damaged'), undefined)
})

describe('quotas of control groups', () => {
  const v2 = {
    '/proc/self/cgroup': '0::/a/b\n',
    '/proc/self/mountinfo': '30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n',
  }
  it('v2: every group that has one, up to the top', () => {
    const files = {
      ...v2,
      '/sys/fs/cgroup/a/b/cpu.max': 'max 100000\n',
      '/sys/fs/cgroup/a/cpu.max': '150000 100000\n',
      '/sys/fs/cgroup/a/cpu.stat': 'usage_usec 2500000\nuser_usec 1\n',
    }
    assert.deepEqual(readCpuQuotas(machine(files).read), [{ folder: '/sys/fs/cgroup/a', cores: 1.5, usedSeconds: 2.5 }])
    assert.equal(usableCores(machine(files)), 1)
    assert.equal(usableCores(machine({ ...files, '/sys/fs/cgroup/a/cpu.max': '20000 100000\n' })), 1)
  })

  it('v1: counted by a controller beside it, wherever that is mounted', () => {
    const mounts =
      '35 31 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n36 31 0:33 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n'
    const at = '/sys/fs/cgroup/cpu/x'
    const files = {
      '/proc/self/mountinfo': mounts,
      '/proc/self/cgroup': '2:cpuacct:/x\n1:cpu:/x\n',
      [`${at}/cpu.cfs_quota_us`]: '300000\n',
      [`${at}/cpu.cfs_period_us`]: '100000\n',
      '/sys/fs/cgroup/cpuacct/x/cpuacct.usage': '7000000000\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
    }
    assert.deepEqual(readCpuQuotas(machine(files).read), [{ folder: at, cores: 3, usedSeconds: 7 }])
    assert.equal(usableCores(machine(files, 8)), 3)
  })

  it('none, or nothing that can be read', () => {
    assert.deepEqual(readCpuQuotas(machine({}).read), [])
    assert.deepEqual(readCpuQuotas(machine({ ...v2, '/sys/fs/cgroup/a/cpu.max': 'nonsense\n' }).read), [])
  })
})

test('use since the last look: of all, of groups, of processes that are told apart', () => {
  const files: Record<string, string> = {
    '/proc/self/cgroup': '0::/\n',
    '/proc/self/mountinfo': '30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n',
  }
  const at = (seconds: { busy: number; group: number; own: number; waited: readonly number[] }): void => {
    files['/proc/stat'] = `cpu0 ${seconds.busy * 100} 0 0 0 0 0 0 0 0 0\n`
    files['/sys/fs/cgroup/cpu.max'] = '400000 100000\n'
    files['/sys/fs/cgroup/cpu.stat'] = `usage_usec ${seconds.group * 1e6}\n`
    files['/proc/9/stat'] = `9 (node) S ${Array.from({ length: 10 }, () => 1).join(' ')} ${seconds.own * 100} 0`
    for (const [thread, waited] of seconds.waited.entries())
      files[`/proc/9/task/${thread}/schedstat`] = `1 ${waited * 1e9} 3\n`
  }
  let now = 0
  const meter = new CpuMeter([0], { ...machine(files), clock: () => now })
  at({ busy: 100, group: 50, own: 10, waited: [1, 2] })
  const first = meter.look([9, 10])
  assert.deepEqual([first.busy, first.groups[0].busy, [...first.processes]], [undefined, undefined, [[9, undefined]]])
  now = 2000
  at({ busy: 103, group: 51, own: 12, waited: [1.5, 2.5] })
  const { busy, groups, processes } = meter.look([9, 10])
  assert.deepEqual(
    { busy, groups, processes: [...processes] },
    {
      busy: 1.5,
      groups: [{ folder: '/sys/fs/cgroup', cores: 4, busy: 0.5 }],
      processes: [[9, { load: 1, wait: 0.5 }]],
    },
  )
  now = 3000
  at({ busy: 103, group: 51, own: 12, waited: [0] }) // a thread ended
  assert.deepEqual(meter.look([9]).processes.get(9), { load: 0, wait: 0 })
  assert.deepEqual(meter.groups(), ['/sys/fs/cgroup'])
  // at the same instant, and where a file is gone: nothing is known, not nothing used
  const same = meter.look([9])
  assert.deepEqual([same.busy, same.groups[0].busy, same.processes.get(9)], [undefined, undefined, undefined])
  now = 4000
  delete files['/proc/stat']
  assert.equal(meter.look([9]).busy, undefined)
  at({ busy: 200, group: 60, own: 13, waited: [0] })
  now = 5000
  assert.equal(meter.look([9]).busy, undefined, 'there is nothing to compare with')
})

test('this machine tells what this process uses', { skip: process.platform !== 'linux' && 'only Linux tells' }, () => {
  const meter = new CpuMeter(readCores().cpus)
  meter.look([process.pid])
  const until = performance.now() + 300
  while (performance.now() < until);
  const { busy, processes } = meter.look([process.pid])
  const { load, wait } = processes.get(process.pid) ?? assert.fail('it is not seen')
  assert.ok((busy ?? 0) >= load - 0.1, `busy ${busy}, load ${load}`)
  // on a busy machine it waits instead
  assert.ok(load + wait > 0.7, `load ${load}, wait ${wait}`)
})
