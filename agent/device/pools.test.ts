import assert from 'node:assert/strict'
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import { type Home, openHome } from '../../shared/home.ts'
import { type KeyPair, newKeyPair, toHex } from '../../shared/identity/keys.ts'
import { signCharter } from '../../shared/identity/pool-charter.ts'
import { poolIdOf } from '../../shared/identity/pool-certificate.ts'
import { parseDeviceId } from '../../shared/ids.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import {
  adminsReadText,
  checkTerms,
  createPool,
  findPool,
  listPools,
  type LocalPool,
  savePool,
  selectPool,
} from './pools.ts'

const code =
  (wanted: string, text = /(?:)/) =>
  (error: unknown): boolean =>
    error instanceof MeshError && error.code === wanted && text.test(error.message)

const makePool = (home: Home, name: string, isMaker = false): LocalPool => {
  const root = newKeyPair()
  const pool: LocalPool = {
    poolId: poolIdOf(root.publicKey),
    name,
    rootPublicKey: toHex(root.publicKey),
    role: isMaker ? 'admin' : 'member',
    certificate: 'Y2VydA',
    rootKey: isMaker ? root : undefined,
  }
  savePool(home, pool)
  return pool
}

describe('what a pool was made to be', () => {
  it('is signed with the pool and kept, and a control plane that lets more people read is refused', (t) => {
    const home = openHome(temporaryFolder(t))
    const deviceId = parseDeviceId('a'.repeat(64))
    const [open, plain] = [
      createPool(home, deviceId, { name: 'school', adminsReadText: true }, Date.now()),
      createPool(home, deviceId, 'home', Date.now()),
    ]
    assert.deepEqual(
      [open, plain].map(({ poolId }) => adminsReadText(selectPool(home, poolId))),
      [true, false],
    )
    assert.deepEqual(
      [checkTerms(open, { charter: open.charter }), checkTerms(open, {}), checkTerms(plain, {})],
      [true, true, false],
    )
    const forged = signCharter(newKeyPair(), { adminsReadText: true })
    const later = signCharter(plain.rootKey as KeyPair, { adminsReadText: true })
    assert.throws(
      () => checkTerms(plain, { charter: later }),
      code('charterChanged', /was for who submitted them, and nobody else/),
    )
    for (const pool of [plain, open])
      assert.throws(() => checkTerms(pool, { charter: forged }), code('charterInvalid', /did not sign/))
  })
})

describe('pools', () => {
  it('an empty home has no pool', (t) => {
    const home = openHome(temporaryFolder(t))
    assert.deepEqual(listPools(home), [])
    assert.throws(() => selectPool(home), code('noPool'))
  })

  it('a saved pool is loaded as it was; the root key is readable by its owner alone', (t) => {
    const home = openHome(temporaryFolder(t))
    const pool = makePool(home, 'home', true)
    assert.deepEqual(selectPool(home, pool.poolId), pool)
    assert.equal(statSync(home.pool(pool.poolId).rootKey).mode & 0o777, 0o600)
  })

  it('a new certificate keeps the root key', (t) => {
    const home = openHome(temporaryFolder(t))
    const pool = makePool(home, 'home', true)
    savePool(home, { ...pool, rootKey: undefined, certificate: 'bmV3' })
    assert.deepEqual(selectPool(home, pool.poolId), { ...pool, certificate: 'bmV3' })
  })

  it('the only pool is meant when none is named; of several one must be', (t) => {
    const home = openHome(temporaryFolder(t))
    const first = makePool(home, 'zebra')
    assert.equal(selectPool(home).poolId, first.poolId)
    const second = makePool(home, 'ant')
    assert.deepEqual(
      listPools(home).map(({ name }) => name),
      ['ant', 'zebra'],
    )
    assert.throws(() => selectPool(home), code('usage', /in 2 pools; name one with --pool-id/))
    assert.equal(selectPool(home, second.poolId).name, 'ant')
  })

  it('the first eight digits of its id name a pool', (t) => {
    const home = openHome(temporaryFolder(t))
    const [first, second] = [makePool(home, 'zebra'), makePool(home, 'ant')]
    for (const digits of [8, 9, 63])
      assert.deepEqual(selectPool(home, first.poolId.slice(0, digits).toUpperCase()), first)
    for (const text of [first.poolId.slice(0, 7), '', 'zebra', `${first.poolId}0`])
      assert.throws(() => selectPool(home, text), code('usage', /--pool-id wants at least 8 hex digits of a pool id/))
    const other = first.poolId.startsWith('00000000') ? '11111111' : '00000000'
    assert.throws(() => selectPool(home, other), code('poolUnknown', new RegExp(`in no pool ${other}$`)))
    assert.throws(
      () => selectPool(home),
      code('usage', new RegExp(`ant: ${second.poolId.slice(0, 8)}, zebra: ${first.poolId.slice(0, 8)}\\)`)),
    )
    writeFileSync(home.pool(second.poolId).config, '[]')
    assert.deepEqual(selectPool(home, first.poolId), first)
  })

  it('an unknown or malformed pool id is refused, and never becomes a path', (t) => {
    const home = openHome(temporaryFolder(t))
    assert.throws(() => selectPool(home, 'ab'.repeat(32)), code('poolUnknown'))
    assert.throws(() => selectPool(home, '../../etc'), code('usage'))
  })

  it('a pool without a certificate does not exist; other files among the pools do not matter', (t) => {
    const home = openHome(temporaryFolder(t))
    const pool = makePool(home, 'home')
    rmSync(home.pool(pool.poolId).certificate)
    mkdirSync(`${home.pools}/notes`)
    assert.equal(findPool(home, pool.poolId), undefined)
    assert.deepEqual(listPools(home), [])
  })

  it('a damaged pool file is named', (t) => {
    const home = openHome(temporaryFolder(t))
    const pool = makePool(home, 'home')
    writeFileSync(home.pool(pool.poolId).config, '[]')
    assert.throws(() => listPools(home), code('stateUnreadable', /pool\.json/))
  })
})
