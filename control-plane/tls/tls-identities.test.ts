/** Which certificate is shown to whom, on the port as it is. */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { connect } from 'node:tls'
import { controlPlaneIdIn, newControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { deviceServerName } from '../../shared/identity/control-plane-name.ts'
import { silentLogger } from '../../shared/log.ts'
import { makeLeaf } from './certificates.ts'
import { createSharedPort } from './shared-port.ts'
import { TlsIdentities } from './tls-identities.ts'

const site = 'mesh.example.org'

interface Stage {
  readonly identities: TlsIdentities
  readonly names: string[]
  readonly files: { readonly cert: string; readonly key: string }
  /** What a client is shown that asks for that name, or for none. */
  shown(serverName: string): Promise<X509Certificate>
}

/** Writes a certificate as another program would. @returns its serial number */
const issue = async ({ cert, key }: Stage['files'], days: number): Promise<string> => {
  const other = await makeLeaf(newControlPlaneKey(), { pem: '', names: [site] }, [site], Date.now() + days * 86400e3)
  writeFileSync(cert, other.cert)
  writeFileSync(key, other.key)
  return new X509Certificate(other.cert).serialNumber
}

const set = async (t: TestContext): Promise<Stage & { readonly serial: string; readonly own: string }> => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-identities-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const [key, files, names] = [
    newControlPlaneKey(),
    { cert: join(folder, 'fullchain.pem'), key: join(folder, 'privkey.pem') },
    ['localhost', '127.0.0.1'],
  ]
  const serial = await issue(files, 0)
  const identities = await TlsIdentities.open({
    key,
    file: join(folder, 'own.crt'),
    names: () => names,
    given: files,
    logger: silentLogger(),
    now: Date.now,
  })
  const server = createSharedPort((_, reply) => reply.end('hello'), {}, { identities })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  const { port } = server.address() as AddressInfo
  const shown = async (servername: string): Promise<X509Certificate> => {
    const socket = connect({ port, host: '127.0.0.1', servername, rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    const certificate = socket.getPeerX509Certificate()
    socket.destroy()
    assert.ok(certificate)
    return certificate
  }
  return { identities, names, files, shown, serial, own: key.id }
}

test('identities: who asks for a name of the given certificate is shown that one, devices and all others that of the key', async (t) => {
  const { shown, serial, own } = await set(t)
  assert.equal((await shown(site)).serialNumber, serial)
  for (const name of [deviceServerName, '', 'localhost', 'other.example.org', `x.${site}`])
    assert.equal(controlPlaneIdIn(await shown(name)), own, name)
})

test('identities: files that change are read again; damaged or half-written ones leave what there was', async (t) => {
  const { identities, files, shown, serial, own } = await set(t)
  await identities.refresh()
  assert.equal((await shown(site)).serialNumber, serial)
  const next = await issue(files, 1)
  await identities.refresh()
  assert.equal((await shown(site)).serialNumber, next)
  await issue({ ...files, key: `${files.key}.later` }, 2) // the key of before
  await identities.refresh()
  assert.equal((await shown(site)).serialNumber, next)
  rmSync(files.cert)
  await identities.refresh()
  assert.equal((await shown(site)).serialNumber, next)
  assert.equal(controlPlaneIdIn(await shown(deviceServerName)), own)
  const last = await issue(files, 3)
  await identities.refresh()
  assert.equal((await shown(site)).serialNumber, last)
})

test('identities: the certificate of the key bears the addresses of now', async (t) => {
  const { identities, names, shown, own } = await set(t)
  const before = await shown('localhost')
  await identities.refresh()
  assert.equal((await shown('localhost')).serialNumber, before.serialNumber)
  names.push('192.168.7.7')
  assert.equal(before.checkIP('192.168.7.7'), undefined)
  await identities.refresh()
  const after = await shown('localhost')
  assert.equal(after.checkIP('192.168.7.7'), '192.168.7.7')
  assert.equal(controlPlaneIdIn(after), own)
})
