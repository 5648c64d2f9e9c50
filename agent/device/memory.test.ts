import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { freemem, totalmem } from 'node:os'
import { test } from 'node:test'
import { combineBounds, heldBytes, measureMemory, readLinuxBounds } from './memory.ts'
import { parseMeminfo, parseOwnBytes, parseProcessTree, parseVmStat, readControlGroups } from './memory-sources.ts'

const MiB = 2 ** 20
const GiB = 2 ** 30
const meminfo =
  'MemTotal:       16384000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\nBuffers:          100000 kB\nCached:          6000000 kB\nShmem:            500000 kB\n'

/** A machine as its files tell. */
const machine =
  (files: Readonly<Record<string, string>>) =>
  (file: string): string | undefined =>
    files[file]
const measure = (files: Readonly<Record<string, string>>): ReturnType<typeof combineBounds> =>
  combineBounds(readLinuxBounds(machine(files), { source: 'fallback', limitBytes: 5, availableBytes: 3 }))

const v2Mount = '30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n'

test('meminfo: available as the kernel says, or what is free and cached on an old one', () => {
  assert.deepEqual(parseMeminfo(meminfo), {
    source: '/proc/meminfo',
    limitBytes: 16384000 * 1024,
    availableBytes: 8000000 * 1024,
  })
  assert.equal(parseMeminfo(meminfo.replace(/MemAvailable.*\n/, ''))?.availableBytes, 6600000 * 1024)
  assert.equal(parseMeminfo(undefined), undefined)
  assert.equal(parseMeminfo('nothing here'), undefined)
})

test('cgroup v2: the tightest of all groups up to the top, file caches count as available', () => {
  const files = {
    '/proc/meminfo': meminfo,
    '/proc/self/mountinfo': v2Mount,
    '/proc/self/cgroup': '0::/user.slice/app.scope/inner\n',
    '/sys/fs/cgroup/user.slice/app.scope/inner/memory.max': 'max\n',
    '/sys/fs/cgroup/user.slice/app.scope/inner/memory.high': 'max\n',
    '/sys/fs/cgroup/user.slice/app.scope/memory.max': `${4 * GiB}\n`,
    '/sys/fs/cgroup/user.slice/app.scope/memory.current': `${3 * GiB}\n`,
    '/sys/fs/cgroup/user.slice/app.scope/memory.stat': `anon 1\ninactive_file ${GiB}\nactive_file 5\n`,
    '/sys/fs/cgroup/user.slice/memory.max': `${6 * GiB}\n`,
    '/sys/fs/cgroup/user.slice/memory.current': `${5.5 * GiB}\n`,
  }
  assert.deepEqual(measure(files), {
    limitBytes: 4 * GiB,
    availableBytes: 0.5 * GiB,
    limitedBy: 'cgroup v2 /sys/fs/cgroup/user.slice/app.scope',
  })
  const slowed = { ...files, '/sys/fs/cgroup/user.slice/app.scope/inner/memory.high': `${2 * GiB}` }
  assert.deepEqual(measure(slowed).limitBytes, 2 * GiB)
})

test('cgroup v2: a container sees itself as the top', () => {
  const files = {
    '/proc/meminfo': meminfo,
    '/proc/self/mountinfo': v2Mount,
    '/proc/self/cgroup': '0::/\n',
    '/sys/fs/cgroup/memory.max': String(512 * MiB),
    '/sys/fs/cgroup/memory.current': String(600 * MiB),
  }
  assert.deepEqual(measure(files), { limitBytes: 512 * MiB, availableBytes: 0, limitedBy: 'cgroup v2 /sys/fs/cgroup' })
  // moved out of the namespace: /.. is nobody's folder, and the walk ends
  assert.equal(measure({ ...files, '/proc/self/cgroup': '0::/../other\n' }).limitBytes, 512 * MiB)
})

test('cgroup v1: limits of the group and above; near 2^63 is none', () => {
  const mount =
    '35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n'
  const at = '/sys/fs/cgroup/memory'
  const files = {
    '/proc/meminfo': meminfo,
    '/proc/self/mountinfo': mount,
    '/proc/self/cgroup': '9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n',
    [`${at}/a/b/memory.limit_in_bytes`]: '9223372036854771712\n',
    [`${at}/a/memory.limit_in_bytes`]: `${2 * GiB}\n`,
    [`${at}/a/memory.usage_in_bytes`]: `${1.5 * GiB}\n`,
    [`${at}/a/memory.stat`]: `cache 3\ntotal_inactive_file ${GiB}\nhierarchical_memory_limit ${3 * GiB}\n`,
  }
  assert.deepEqual(measure(files), { limitBytes: 2 * GiB, availableBytes: 1.5 * GiB, limitedBy: `cgroup v1 ${at}/a` })
  // a group above the mount is known by the hierarchical limit only
  assert.equal(measure({ ...files, [`${at}/a/b/memory.stat`]: `hierarchical_memory_limit ${GiB}\n` }).limitBytes, GiB)
})

test('cgroup v1: Docker mounts a subtree, whose folder the path names from the host', () => {
  const files = {
    '/proc/meminfo': meminfo,
    '/proc/self/mountinfo': '35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n',
    '/proc/self/cgroup': '4:memory:/docker/abc\n',
    '/sys/fs/cgroup/memory/memory.limit_in_bytes': String(GiB),
  }
  assert.deepEqual(measure(files).limitBytes, GiB)
  assert.deepEqual(measure({ ...files, '/proc/self/cgroup': '4:memory:/elsewhere\n' }).limitBytes, GiB)
  assert.deepEqual(
    measure({
      ...files,
      '/proc/self/mountinfo': files['/proc/self/mountinfo'].replace('/sys/fs/cgroup/memory', '/odd\\040place'),
    }).limitBytes,
    16384000 * 1024,
  )
})

test('linux: without groups the machine counts, without /proc the fallback, and rubbish bounds nothing', () => {
  assert.equal(measure({ '/proc/meminfo': meminfo }).limitedBy, '/proc/meminfo')
  assert.deepEqual(measure({}), { limitBytes: 5, availableBytes: 3, limitedBy: 'fallback' })
  assert.deepEqual(
    readControlGroups(
      machine({ '/proc/self/mountinfo': 'x\n - \na b c - cgroup2\n', '/proc/self/cgroup': '0:\n::::\n' }),
    ),
    [],
  )
  assert.deepEqual(
    readControlGroups(
      machine({
        '/proc/self/mountinfo': v2Mount,
        '/proc/self/cgroup': '0::/\n',
        '/sys/fs/cgroup/memory.max': '-5 or so',
      }),
    ),
    [],
  )
})

test('macOS: vm_stat in pages of its own size; text that is something else counts as nothing', () => {
  const text = `Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               12345.
Pages active:                            400000.
Pages inactive:                          300000.
Pages speculative:                         1000.
Pages wired down:                        100000.
"Translation faults":                 123456789.
`
  assert.equal(parseVmStat(text), 16384 * (12345 + 300000 + 1000))
  assert.equal(parseVmStat(text.replace(/Pages speculative.*\n/, '')), 16384 * (12345 + 300000))
  for (const other of [
    '',
    'command not found',
    text.replace('16384', 'many'),
    text.replace('16384', '1'),
    text.replace('Pages free', 'Pages gratis'),
  ])
    assert.equal(parseVmStat(other), undefined)
})

test('held: own pages without those of files; a tree of processes from ps', () => {
  assert.equal(
    parseOwnBytes('VmRSS:\t  900 kB\nRssAnon:\t  300 kB\nRssFile:\t  500 kB\nRssShmem:\t  100 kB\n'),
    400 * 1024,
  )
  assert.equal(parseOwnBytes('VmRSS:\t  900 kB\n'), 900 * 1024)
  assert.equal(parseOwnBytes(undefined), 0)
  assert.equal(parseProcessTree('  5 1 100\n  7 5 20\n 9 7 3\n 6 1 1000\n\nrubbish here now\n', 5), 123 * 1024)
})

test('this machine: available below the limit, the limit below what is built in, and memory that is taken is seen', () => {
  const before = measureMemory()
  assert.ok(before.limitBytes > 64 * MiB && before.limitBytes <= totalmem() * 1.01)
  assert.ok(before.availableBytes > 0 && before.availableBytes <= before.limitBytes)
  assert.ok(before.availableBytes >= Math.min(freemem(), before.limitBytes) * 0.5)
  const held = heldBytes(process.pid)
  const taken = Buffer.alloc(256 * MiB, 1)
  const grown = heldBytes(process.pid) - held
  assert.ok(grown > 0.8 * taken.length && grown < 1.5 * taken.length, `grew by ${grown}`)
  if (process.platform === 'linux') assert.ok(readFileSync('/proc/meminfo', 'utf8').includes('MemTotal'))
})
