import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NewcomerPace, PendingConnections, type PendingLimits } from './pending-connections.ts'

const limits: PendingLimits = { strangers: 6, known: 4, ofHousehold: 3, patienceMs: 1000 }

interface Socket {
  readonly name: string
}

/** Connections by name; `enter` tells the name of who has no place. */
const createDoor = (changes: Partial<PendingLimits> = {}, lot: () => number = () => 0.999) => {
  const pending = new PendingConnections<Socket>({ ...limits, ...changes }, lot)
  const sockets = new Map<string, Socket>()
  const socketOf = (name: string): Socket => {
    const socket = sockets.get(name) ?? { name }
    sockets.set(name, socket)
    return socket
  }
  return {
    pending,
    enter: (name: string, household: string, now: number, isKnown = false): string | undefined =>
      pending.enter(socketOf(name), { household, isKnown }, now)?.name,
    leave: (name: string): void => pending.leave(socketOf(name)),
    holds: (...names: readonly string[]): boolean[] =>
      names.map((name) => pending.newcomer(socketOf(name)) !== undefined),
  }
}

test('pending connections: the oldest of a household makes room for its next one, and for no other', () => {
  const { enter, holds } = createDoor()
  assert.equal(enter('other', 'b', 0), undefined)
  for (const [at, name] of ['a1', 'a2', 'a3'].entries()) assert.equal(enter(name, 'a', at), undefined)
  assert.equal(enter('a4', 'a', 1000), 'a1')
  assert.equal(enter('a5', 'a', 1001), 'a2')
  assert.deepEqual(holds('other', 'a1', 'a2', 'a3', 'a4', 'a5'), [true, false, false, true, true, true])
})

test('pending connections: when all places are taken, who holds most makes room', () => {
  const { enter, pending, holds } = createDoor()
  assert.equal(enter('b1', 'b', 0), undefined)
  for (const name of ['a1', 'a2', 'a3']) enter(name, 'a', 1)
  for (const name of ['c1', 'c2']) enter(name, 'c', 2)
  assert.equal(pending.size, 6)
  assert.equal(enter('d1', 'd', 1001), 'a1')
  assert.equal(pending.size, 6)
  assert.deepEqual(holds('b1', 'd1'), [true, true])
})

test('pending connections: places of known addresses are not for strangers, nor the other way', () => {
  const { enter, pending } = createDoor()
  for (const name of ['a1', 'a2', 'a3']) enter(name, 'a', 0)
  for (const name of ['b1', 'b2', 'b3']) enter(name, 'b', 0)
  for (const [name, household] of [
    ['k1', 'k'],
    ['k2', 'k'],
    ['l1', 'l'],
    ['l2', 'l'],
  ])
    assert.equal(enter(name, household, 1, true), undefined)
  assert.equal(pending.size, 10)
  assert.equal(enter('m1', 'm', 1001, true), 'k1')
  assert.equal(enter('c1', 'c', 1001), 'a1')
  assert.equal(enter('k9', 'k', 1001, true), 'l1')
})

test('pending connections: of those that came just now the lot takes one, the newcomer too', () => {
  const draws = [0, 0.26, 0.74, 0.75, 0.999]
  const { enter, holds } = createDoor({}, () => draws.shift() ?? 0)
  for (const name of ['a1', 'a2', 'a3']) enter(name, 'a', 5000)
  assert.equal(enter('a4', 'a', 5999), 'a1')
  assert.equal(enter('a5', 'a', 5999), 'a3')
  assert.equal(enter('a6', 'a', 5999), 'a5')
  assert.equal(enter('a7', 'a', 5999), 'a7')
  assert.equal(enter('a8', 'a', 5999), 'a8')
  assert.deepEqual(holds('a2', 'a4', 'a6', 'a7', 'a8'), [true, true, true, false, false])
})

test('pending connections: who proved itself or went leaves room', () => {
  const { enter, leave, pending } = createDoor()
  for (const name of ['a1', 'a2', 'a3']) enter(name, 'a', 0)
  leave('a2')
  assert.equal(pending.size, 2)
  assert.equal(enter('a4', 'a', 5000), undefined)
  assert.equal(enter('a5', 'a', 5000), 'a1')
})

test('newcomers: a household, and all strangers, do so much a second', () => {
  const pace = new NewcomerPace({ known: 4, stranger: 2, strangers: 3 })
  const allows = (households: string, now: number, isKnown = false): boolean[] =>
    [...households].map((household) => pace.allows({ household, isKnown }, now))
  assert.deepEqual(allows('aaa', 1000), [true, true, false])
  assert.deepEqual(allows('bb', 1500), [true, false])
  // members' addresses are not counted among the strangers
  assert.deepEqual(allows('kkkkkl', 1999, true), [true, true, true, true, false, true])
  assert.deepEqual(allows('bac', 2000), [true, true, true])
})

test('pending connections: a flood that holds its sockets, or comes again and again, does not keep one out for long', () => {
  for (const [everyMs, least] of [
    [100, 95],
    [20, 80],
    [5, 40],
  ]) {
    let seed = 1
    const random = (): number => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647
    const pending = new PendingConnections<Socket>({ ...limits, strangers: 128, ofHousehold: 32 }, random)
    let inside = 0
    let now = 0
    for (let member = 0; member < 100; member++) {
      const flood = (ms: number): void => {
        for (const end = now + ms; now < end; now += everyMs)
          pending.enter({ name: 'flood' }, { household: 'a', isKnown: false }, now)
      }
      flood(2000)
      const honest = { name: 'member' }
      if (pending.enter(honest, { household: 'a', isKnown: false }, now) === honest) continue
      flood(100) // so long a handshake takes
      if (pending.newcomer(honest) !== undefined) inside++
      pending.leave(honest)
    }
    assert.ok(inside >= least, `one every ${everyMs} ms: ${inside} of 100 tries`)
  }
})
