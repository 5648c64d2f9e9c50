import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import { type Home, openHome } from '../../shared/home.ts'
import { newKeyPair, toHex } from '../../shared/identity/keys.ts'
import { issueCertificate, poolIdOf } from '../../shared/identity/pool-certificate.ts'
import type { PoolId } from '../../shared/ids.ts'
import { createLogger } from '../../shared/log.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { eventually } from '../../test/support/processes.ts'
import { savePool } from '../device/pools.ts'
import { PoolWatch } from './pool-watch.ts'

const addPool = (home: Home, name: string): PoolId => {
  const root = newKeyPair()
  const poolId = poolIdOf(root.publicKey)
  const certificate = issueCertificate(root, { deviceId: toHex(newKeyPair().publicKey) as never, role: 'member' }, 0)
  savePool(home, { poolId, name, rootPublicKey: toHex(root.publicKey), role: 'member', certificate })
  return poolId
}

const createWatch = (
  t: TestContext,
  everyMs = 60_000,
): { readonly home: Home; readonly watch: PoolWatch; readonly lines: string[] } => {
  const home = openHome(temporaryFolder(t))
  const lines: string[] = []
  const logger = createLogger('test', 'warn', {
    write: (line) => void lines.push((JSON.parse(line) as { msg: string }).msg),
  })
  const watch = new PoolWatch({ home, logger, everyMs })
  t.after(() => watch.stop())
  return { home, watch, lines }
}

test('pools: one look tells everybody what lies in the home, in turn', (t) => {
  const { home, watch, lines } = createWatch(t)
  const seen: [string, string[]][] = []
  for (const who of ['first', 'second']) watch.onLook((pools) => void seen.push([who, pools.map(({ name }) => name)]))
  watch.look()
  addPool(home, 'club')
  watch.look()
  addPool(home, 'attic')
  watch.look()
  assert.deepEqual(
    seen,
    [[], ['club'], ['attic', 'club']].flatMap((names) => [
      ['first', names],
      ['second', names],
    ]),
  )
  assert.deepEqual(lines, [])
})

test('pools: who follows is told at once, and alone', (t) => {
  const { home, watch } = createWatch(t)
  addPool(home, 'club')
  const told: string[] = []
  watch.onLook(() => void told.push('first'))
  watch.follow((pools) => void told.push(`follower of ${pools.length}`))
  assert.deepEqual(told, ['follower of 1'])
  watch.look()
  assert.deepEqual(told, ['follower of 1', 'first', 'follower of 1'])
})

test('pools: they are looked at by itself, until it stops', async (t) => {
  const { home, watch } = createWatch(t, 10)
  let looks = 0
  let names: string[] = []
  watch.onLook((pools) => {
    looks++
    names = pools.map(({ name }) => name)
  })
  await eventually(5000, 'it looked', () => looks > 1 || undefined)
  addPool(home, 'club')
  await eventually(5000, 'the pool was seen', () => names.includes('club') || undefined)
  watch.stop()
  const last = looks
  watch.look()
  assert.equal(looks, last + 1)
})

test('pools: who fails is told of again, the others are told all the same, and the log has it once', (t) => {
  const { watch, lines } = createWatch(t)
  const told: string[] = []
  let isFull = true
  watch.onLook(() => {
    told.push('first')
    if (isFull) throw new MeshError('stateUnwritable', { file: 'x', problem: 'no space left' })
  })
  watch.onLook(() => void told.push('second'))
  for (let look = 0; look < 3; look++) watch.look()
  assert.deepEqual(told, ['first', 'second', 'first', 'second', 'first', 'second'])
  assert.equal(lines.length, 1)
  assert.match(lines[0], /no space left/)
  isFull = false
  watch.look()
  isFull = true
  watch.look()
  assert.equal(lines.length, 2)
})

test('pools: where they cannot be read nobody is told that there are none', (t) => {
  const { home, watch, lines } = createWatch(t)
  const seen: number[] = []
  watch.onLook((pools) => void seen.push(pools.length))
  addPool(home, 'club')
  watch.look()
  const damaged = addPool(home, 'attic')
  writeFileSync(join(home.pools, damaged, 'pool.json'), '{')
  for (let look = 0; look < 2; look++) watch.look()
  assert.deepEqual([seen, lines.length], [[1], 1])
  rmSync(join(home.pools, damaged), { recursive: true })
  watch.look()
  assert.deepEqual(seen, [1, 1])
})
