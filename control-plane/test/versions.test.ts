/** Devices and control planes of other versions, over real HTTP. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { headers } from '../../shared/headers.ts'
import { routes } from '../../shared/api/routes.ts'
import { MeshError } from '../../shared/errors.ts'
import { shortId } from '../../shared/ids.ts'
import { createLogger } from '../../shared/log.ts'
import { requests } from '../../shared/wire/protocols.ts'
import { OlderDevices } from '../routes/older-devices.ts'
import { signFor, startPlane, TestDevice } from './plane.ts'

const path = '/api/devices/self'

test('versions: a device of before is told by the control plane, and every answer names the version', async (t) => {
  const { url } = await startPlane(t)
  const device = new TestDevice('Old')
  const { [headers.protocol]: _, ...older } = signFor(url, device.key, { method: 'GET', path, body: '' }, Date.now())
  const answer = await fetch(url + path, { headers: older })
  const { error } = (await answer.json()) as { error: { code: string; message: string; hint: string } }
  assert.deepEqual([answer.status, error.code], [409, 'protocolVersion'])
  assert.equal(
    error.message,
    `device ${shortId(device.deviceId)} speaks version 1 of requests to a control plane, ` +
      `the control plane version ${requests.version}`,
  )
  assert.match(error.hint, new RegExp(`^update Mesh on device ${shortId(device.deviceId)}`))
  assert.equal(answer.headers.get(headers.protocol), requests.version)
  assert.equal((await fetch(`${url}/health`)).headers.get(headers.protocol), requests.version)
  // an app shows a key and signs nothing: it needs no version
  assert.notEqual((await fetch(`${url}/api/api-key`, { headers: { authorization: 'Bearer x' } })).status, 409)
})

test('versions: the log of the control plane names a device of before, once in an hour', () => {
  const lines: string[] = []
  let now = 0
  const older = new OlderDevices(createLogger('x', 'warn', { write: (line) => void lines.push(line) }), () => now)
  const error = new MeshError('protocolVersion', {
    what: 'requests',
    older: 'device 1',
    olderVersion: '1',
    newer: 'the control plane',
    newerVersion: '2',
  })
  for (let count = 0; count < 50; count++) older.note(error, '192.0.2.1')
  assert.equal(lines.length, 1)
  assert.match(lines[0], /device 1 speaks version 1.*update Mesh on/)
  for (let count = 0; count < 5000; count++)
    older.note(new MeshError('protocolVersion', { older: `device ${count}` }), '192.0.2.1')
  assert.equal(lines.length, 100)
  now = 3600e3
  older.note(error, '192.0.2.1')
  assert.equal(lines.length, 101)
})

const standIn = async (t: TestContext, answer: RequestListener): Promise<string> => {
  const server = createServer(answer).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('versions: a device tells control planes of other versions from those that refuse it', async (t) => {
  const device = new TestDevice('Device')
  const refused = (code: 'signatureInvalid' | 'notMember'): string =>
    JSON.stringify({ error: new MeshError(code, { problem: 'x', deviceId: 'd', poolId: 'p' }).toReport() })
  const ask = async (shown: string | undefined, body: string): Promise<void> => {
    const url = await standIn(t, (request, response) => {
      if (request.url === routes.controlPlane.path)
        return void response.end(JSON.stringify({ controlPlaneKey: 'c'.repeat(64) }))
      if (shown !== undefined) response.setHeader(headers.protocol, shown)
      response.writeHead(401, { 'content-type': 'application/json' }).end(body)
    })
    await device.register(url)
  }
  const own = `device ${shortId(device.deviceId)}`
  await assert.rejects(ask(undefined, refused('signatureInvalid')), {
    code: 'protocolVersion',
    message: `the control plane speaks version 1 of requests to a control plane, ${own} version ${requests.version}`,
  })
  await assert.rejects(ask('7', refused('signatureInvalid')), {
    code: 'protocolVersion',
    message: `${own} speaks version ${requests.version} of requests to a control plane, the control plane version 7`,
  })
  await assert.rejects(ask('7', 'whatever comes then'), { code: 'protocolVersion' })
  await assert.rejects(ask(requests.version, refused('signatureInvalid')), { code: 'signatureInvalid' })
  await assert.rejects(ask(undefined, refused('notMember')), { code: 'notMember' })
})
