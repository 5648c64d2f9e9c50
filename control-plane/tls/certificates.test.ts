import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, isIP } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { connect, createServer } from 'node:tls'
import { controlPlaneIdIn, newControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { isCurrent, leafNames, makeLeaf, ownAuthority } from './certificates.ts'
import { hostNames } from './host-names.ts'
import { isPrivateName } from './name-constraints.ts'

const folder = mkdtempSync(join(tmpdir(), 'mesh-certificates-'))
after(() => rmSync(folder, { recursive: true }))
const key = newControlPlaneKey()
const names = ['Desktop', 'desktop.local', 'localhost', '127.0.0.1', '192.168.1.20', 'FD00:0::5', '203.0.113.7']
const authority = await ownAuthority(join(folder, 'a.crt'), key, names)

/** What a client that trusts `ca` says of a server that shows this: nothing, or why it does not trust it. */
const judge = async (
  shown: { readonly cert: string; readonly key: string },
  ca: string,
  host: string,
): Promise<string> => {
  const server = createServer(shown).listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    return await new Promise((resolve) => {
      const socket = connect(
        {
          port: (server.address() as AddressInfo).port,
          host: '127.0.0.1',
          ca,
          servername: isIP(host) ? '' : host,
          checkServerIdentity: (_, certificate) => {
            const own = new X509Certificate(certificate.raw)
            return (isIP(host) ? own.checkIP(host) : own.checkHost(host)) === undefined ? new Error('NAME') : undefined
          },
        },
        () => {
          socket.destroy()
          resolve('')
        },
      )
      socket.on('error', (error) => resolve(`${'code' in error ? String(error.code) : ''} ${error.message}`.trim()))
    })
  } finally {
    server.close()
  }
}

test('whoever trusts the authority trusts the leaf, under every name of the machine', async () => {
  const leaf = await makeLeaf(key, authority, names, Date.now())
  for (const name of ['desktop', 'desktop.local', 'localhost', '127.0.0.1', '192.168.1.20', 'fd00::5', '203.0.113.7']) {
    assert.equal(await judge(leaf, authority.pem, name), '', name)
  }
  assert.equal(await judge(leaf, authority.pem, 'example.org'), 'NAME')
  const other = await ownAuthority(join(folder, 'other.crt'), newControlPlaneKey(), names)
  assert.match(await judge(leaf, other.pem, 'localhost'), /UNABLE_TO_VERIFY|SELF_SIGNED/)
  assert.equal(controlPlaneIdIn(new X509Certificate(leaf.cert)), key.id)
})

test('the authority cannot speak for other sites', async () => {
  for (const name of ['example.org', '198.51.100.1', '2001:db8::1', 'desktop.example.org']) {
    const forged = await makeLeaf(key, { ...authority, names: [...authority.names, name] }, [name], Date.now())
    assert.match(await judge(forged, authority.pem, name), /permitted subtree violation/, name)
  }
})

test('the authority stays as it is; one of another key or a damaged one is made anew', async () => {
  const file = join(folder, 'a.crt')
  const again = await ownAuthority(file, key, ['elsewhere', '198.51.100.9'])
  assert.deepEqual(again, authority)
  assert.deepEqual(again.names.toSorted(), ['203.0.113.7', 'desktop'])
  for (const text of ['damaged', (await ownAuthority(join(folder, 'b.crt'), newControlPlaneKey(), [])).pem]) {
    writeFileSync(file, text)
    const made = await ownAuthority(file, key, [])
    assert.equal(controlPlaneIdIn(new X509Certificate(made.pem)), key.id)
    assert.equal(readFileSync(file, 'utf8'), made.pem)
  }
})

test('a leaf bears what the authority may speak for, and is made again in time', async () => {
  const now = Date.now()
  assert.deepEqual(leafNames([...names, '198.51.100.9', 'elsewhere'], authority), leafNames(names, authority))
  const leaf = await makeLeaf(key, authority, names, now)
  const wanted = leafNames(names, authority)
  assert.equal(isCurrent(leaf, wanted, now), true)
  assert.equal(isCurrent(leaf, leafNames([...names, '10.0.0.9'], authority), now), false)
  assert.equal(isCurrent(leaf, wanted, now + 334 * 86400e3), true)
  assert.equal(isCurrent(leaf, wanted, now + 336 * 86400e3), false)
  assert.equal(isCurrent(leaf, wanted, now - 2 * 86400e3), false, 'the clock was set back behind its beginning')
})

test('names of homes are private, others are not', () => {
  for (const name of [
    'localhost',
    'desk.local',
    'a.b.lan',
    '10.1.2.3',
    '172.31.0.1',
    '192.168.0.1',
    '100.64.0.1',
    '169.254.1.1',
    '127.9.9.9',
    '::1',
    'fd00::1',
    'fe80::1',
  ])
    assert.equal(isPrivateName(name), true, name)
  for (const name of [
    'desk',
    'local.org',
    'xlocal',
    '172.32.0.1',
    '11.0.0.1',
    '100.128.0.1',
    '192.169.0.1',
    '2001:db8::1',
    '::2',
  ])
    assert.equal(isPrivateName(name), false, name)
})

test('the names of this machine hold its addresses, and where it listens', () => {
  for (const name of ['localhost', '127.0.0.1', '::1']) assert.ok(hostNames('0.0.0.0').includes(name))
  assert.ok(hostNames('plane.lan').includes('plane.lan'))
  assert.ok(!hostNames('0.0.0.0').includes('0.0.0.0'))
})
