/** Who may call what, over real HTTP. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import WebSocket from 'ws'
import { Value } from 'typebox/value'
import { headers } from '../../shared/headers.ts'
import { type RouteRecord, routes } from '../../shared/api/routes.ts'
import { ErrorAnswer } from '../../shared/schema/common.ts'
import { newApiKey } from '../../shared/identity/api-key.ts'
import { newKeyPair } from '../../shared/identity/keys.ts'
import { certificateLifetimeMs, issueCertificate } from '../../shared/identity/pool-certificate.ts'
import { createKey, createPool, FakeAgent, startPlane, TestDevice, signFor } from './plane.ts'

const errorOf = async (answer: Response): Promise<string> => {
  const body: unknown = await answer.json()
  assert.ok(Value.Check(ErrorAnswer, body), JSON.stringify(body))
  return `${answer.status} ${body.error.code}`
}

/**
 * What each sender meets at a route, by the access that it declares: a refusal, or nothing that has to do with access.
 */
const refusals = {
  open: {},
  device: {
    nobody: '401 signatureInvalid',
    unregistered: '403 deviceUnknown',
    key: '403 keyNotAccepted',
    keyOfOther: '403 keyNotAccepted',
    wrongKey: '403 keyNotAccepted',
  },
  member: {
    nobody: '401 signatureInvalid',
    unregistered: '403 deviceUnknown',
    stranger: '403 notMember',
    adminOfOther: '403 certificateInvalid',
    key: '403 keyNotAccepted',
    keyOfOther: '403 keyNotAccepted',
    wrongKey: '403 keyNotAccepted',
  },
  admin: {
    nobody: '401 signatureInvalid',
    unregistered: '403 deviceUnknown',
    stranger: '403 notMember',
    adminOfOther: '403 certificateInvalid',
    member: '403 notAdmin',
    key: '403 keyNotAccepted',
    keyOfOther: '403 keyNotAccepted',
    wrongKey: '403 keyNotAccepted',
  },
  'member-or-key': {
    nobody: '401 signatureInvalid',
    unregistered: '403 deviceUnknown',
    stranger: '403 notMember',
    adminOfOther: '403 certificateInvalid',
    keyOfOther: '403 keyOtherPool',
    wrongKey: '401 keyInvalid',
  },
  key: {
    nobody: '401 keyInvalid',
    unregistered: '401 keyInvalid',
    stranger: '401 keyInvalid',
    adminOfOther: '401 keyInvalid',
    member: '401 keyInvalid',
    admin: '401 keyInvalid',
    wrongKey: '401 keyInvalid',
  },
} as const satisfies Record<RouteRecord['access'], Partial<Record<Sender, string>>>

type Sender =
  | 'nobody'
  | 'unregistered'
  | 'stranger'
  | 'adminOfOther'
  | 'member'
  | 'admin'
  | 'key'
  | 'keyOfOther'
  | 'wrongKey'

/** Headers of every kind of sender for one request of the pool. */
const sendersFor = async (
  url: string,
): Promise<{ poolId: string; headersOf: Record<Sender, (method: string, path: string) => Record<string, string>> }> => {
  const [pool, other] = [await createPool(url), await createPool(url)]
  const [member, stranger] = [await pool.member('Member'), new TestDevice('Stranger')]
  await stranger.register(url)
  const { text: key } = await createKey(member, pool, url)
  const { text: keyOfOther } = await createKey(other.admin, other, url)
  const signed = (device: TestDevice, certificate?: string) => (method: string, path: string) => ({
    ...signFor(url, device.key, { method, path, body: '' }, Date.now()),
    ...(certificate === undefined ? {} : { [headers.certificate]: certificate }),
  })
  const bearer = (text: string) => () => ({ authorization: `Bearer ${text}` })
  return {
    poolId: pool.poolId,
    headersOf: {
      nobody: () => ({}),
      unregistered: signed(new TestDevice('Unregistered'), pool.admin.certificates.get(pool.poolId)),
      stranger: signed(stranger),
      adminOfOther: signed(other.admin, other.admin.certificates.get(other.poolId)),
      member: signed(member, member.certificates.get(pool.poolId)),
      admin: signed(pool.admin, pool.admin.certificates.get(pool.poolId)),
      key: bearer(key),
      keyOfOther: bearer(keyOfOther),
      wrongKey: bearer(newApiKey().text),
    },
  }
}

test('access: every route refuses who its access does not name, and nobody else', async (t) => {
  const { url } = await startPlane(t)
  const { poolId, headersOf } = await sendersFor(url)
  const codes = new Set(Object.values(refusals).flatMap((bySender) => Object.values(bySender)) as string[])
  for (const [name, route] of Object.entries(routes) as [string, RouteRecord][]) {
    const path = route.path.replace(':poolId', poolId).replaceAll(/:\w+/g, 'a'.repeat(16))
    for (const [sender, headersFor] of Object.entries(headersOf) as [Sender, (typeof headersOf)[Sender]][]) {
      const answer = await fetch(url + path, { method: route.method, headers: headersFor(route.method, path) })
      const bySender: Partial<Record<Sender, string>> = refusals[route.access]
      // the one route that a device calls before it is known
      const wanted = name === 'registerDevice' && sender === 'unregistered' ? undefined : bySender[sender]
      const got = answer.ok ? String(answer.status) : await errorOf(answer)
      assert.ok(answer.status < 500, `${name} for ${sender}: ${got}`)
      if (wanted === undefined) assert.ok(!codes.has(got), `${name} refuses ${sender}: ${got}`)
      else assert.equal(got, wanted, `${name} for ${sender}`)
      if (route.access === 'open') assert.equal(answer.status, 200, name)
    }
  }
})

test('access: what is open to strangers and to apps is this, and a new route joins it on purpose only', () => {
  const namesOf = (...kinds: RouteRecord['access'][]): string[] =>
    (Object.entries(routes) as [string, RouteRecord][])
      .filter(([, { access }]) => kinds.includes(access))
      .map(([name]) => name)
  assert.deepEqual(namesOf('open'), ['health', 'ready', 'controlPlane'])
  assert.deepEqual(namesOf('device'), [
    'registerDevice',
    'getDevice',
    'getLock',
    'recordLock',
    'agentSocket',
    'createPool',
    'getCharter',
    'listPools',
    'requestJoin',
    'getJoin',
    'getRevocations',
    'publishRevocations',
    'getPin',
    'publishPin',
  ])
  assert.deepEqual(namesOf('key', 'member-or-key'), [
    'listRings',
    'submitJob',
    'getJob',
    'cancelJob',
    'jobEvents',
    'getKey',
  ])
})

test('access: a signature goes before a key, and other kinds of authorization are no key', async (t) => {
  const { url } = await startPlane(t)
  const { poolId, headersOf } = await sendersFor(url)
  const path = `/api/pools/${poolId}/peers`
  const send = (...senders: Record<string, string>[]): Promise<Response> =>
    fetch(url + path, { headers: Object.assign({}, ...senders) as Record<string, string> })
  assert.equal((await send(headersOf.member('GET', path), headersOf.key('GET', path))).status, 200)
  assert.equal((await send(headersOf.member('GET', path), { authorization: 'Basic eDp5' })).status, 200)
  assert.equal(await errorOf(await send({ authorization: 'Basic eDp5' })), '401 signatureInvalid')
})

test('access: a replayed request, a changed body and a wrong clock are refused', async (t) => {
  const { url } = await startPlane(t)
  const device = new TestDevice('A')
  const body = JSON.stringify({
    networkId: 'home',
    name: 'A',
    capabilities: { cpuCores: 1, memoryBytes: 1, platform: 'x', arch: 'y', backends: [] },
  })
  const parts = { method: 'POST', path: '/api/devices', body }
  const send = (signed: Record<string, string>, text: string): Promise<Response> =>
    fetch(`${url}/api/devices`, {
      method: 'POST',
      body: text,
      headers: { ...signed, 'content-type': 'application/json' },
    })
  const signed = signFor(url, device.key, parts, Date.now())
  assert.equal((await send(signed, body)).status, 200)
  assert.equal(await errorOf(await send(signed, body)), '401 replayed')
  assert.equal(
    await errorOf(await send(signFor(url, device.key, parts, Date.now()), body.replace('"A"', '"B"'))),
    '401 signatureInvalid',
  )
  assert.equal(await errorOf(await send(signFor(url, device.key, parts, Date.now() - 3600e3), body)), '401 clockSkew')
})

test('access: a device must register first, and its request must fit the schema', async (t) => {
  const { url } = await startPlane(t)
  const device = new TestDevice('A')
  await assert.rejects(device.client(url).call('listPools', {}), { code: 'deviceUnknown' })
  await assert.rejects(
    device.client(url).call('registerDevice', { body: { networkId: '', name: 'A', capabilities: {} as never } }),
    { code: 'requestInvalid', message: /networkId/ },
  )
  await device.register(url)
  assert.deepEqual(await device.client(url).call('listPools', {}), [])
})

test('access: member routes want a valid certificate of this pool and this device', async (t) => {
  const { url } = await startPlane(t)
  const [pool, other] = [await createPool(url), await createPool(url)]
  const device = await pool.member('Member')
  const call = (): Promise<unknown> => device.client(url).call('listPeers', { params: { poolId: pool.poolId } })
  await call()
  const shown = (certificate: string | undefined): void => {
    if (certificate === undefined) device.certificates.delete(pool.poolId)
    else device.certificates.set(pool.poolId, certificate)
  }
  shown(undefined)
  await assert.rejects(call(), { code: 'notMember' })
  shown(issueCertificate(other.root, { deviceId: device.deviceId, role: 'member' }, Date.now()))
  await assert.rejects(call(), { code: 'certificateInvalid' })
  shown(issueCertificate(pool.root, { deviceId: pool.admin.deviceId, role: 'admin' }, Date.now()))
  await assert.rejects(call(), { code: 'certificateInvalid', message: /another device/ })
  shown(
    issueCertificate(pool.root, { deviceId: device.deviceId, role: 'member' }, Date.now() - 2 * certificateLifetimeMs),
  )
  await assert.rejects(call(), { code: 'certificateExpired' })
  shown(issueCertificate(newKeyPair(), { deviceId: device.deviceId, role: 'admin' }, Date.now()))
  await assert.rejects(call(), { code: 'certificateInvalid' })
  shown('AAAA')
  await assert.rejects(call(), { code: 'certificateInvalid' })
})

test('access: admin routes want the role admin', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const member = await pool.member('Member')
  await assert.rejects(member.client(url).call('listJoins', { params: { poolId: pool.poolId } }), { code: 'notAdmin' })
  assert.deepEqual(await pool.admin.client(url).call('listJoins', { params: { poolId: pool.poolId } }), [])
})

test('access: a certificate header alone is worth nothing without the device key', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const thief = new TestDevice('Thief')
  await thief.register(url)
  thief.certificates.set(pool.poolId, pool.admin.certificates.get(pool.poolId) as string)
  await assert.rejects(thief.client(url).call('listPeers', { params: { poolId: pool.poolId } }), {
    code: 'certificateInvalid',
  })
})

test('access: unknown routes, bodies that are no JSON and too large ones get an error of ours', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  assert.equal(await errorOf(await fetch(`${url}/nothing`)), '404 notFound')
  assert.equal(
    await errorOf(
      await fetch(`${url}/api/devices`, { method: 'POST', body: '{', headers: { 'content-type': 'application/json' } }),
    ),
    '401 signatureInvalid',
  )
  const { text: key } = await createKey(await pool.member('Member'), pool, url)
  assert.equal(
    await errorOf(
      await fetch(`${url}/api/pools/${pool.poolId}/jobs`, {
        method: 'POST',
        body: '{',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      }),
    ),
    '400 requestInvalid',
  )
  assert.match(
    await errorOf(
      await fetch(`${url}/api/devices`, {
        method: 'POST',
        body: 'x'.repeat(9 << 20),
        headers: { 'content-type': 'application/json' },
      }),
    ),
    /^413 bodyTooLarge/,
  )
})

test('access: a body that is not JSON by its type is not read, and bytes count, not their text', async (t) => {
  const { url } = await startPlane(t)
  const device = new TestDevice('A')
  const send = (type: string, body: Buffer, signed: Buffer = body): Promise<Response> =>
    fetch(`${url}/api/devices`, {
      method: 'POST',
      body,
      headers: {
        ...signFor(url, device.key, { method: 'POST', path: '/api/devices', body: signed }, Date.now()),
        'content-type': type,
      },
    })
  assert.match(await errorOf(await send('text/plain', Buffer.from('hello'), Buffer.alloc(0))), /^415 /)
  const wellFormed = Buffer.from('{"name":"\ufffd"}')
  // the same text, once it is decoded
  const malformed = Buffer.from(wellFormed.toString('latin1').replace('\xef\xbf\xbd', '\xff'), 'latin1')
  assert.equal(malformed.toString(), wellFormed.toString())
  assert.equal(await errorOf(await send('application/json', malformed, wellFormed)), '401 signatureInvalid')
})

test('access: a socket wants the signature of a registered device, and hello first', async (t) => {
  const { url } = await startPlane(t)
  const refusal = async (headersOf: Record<string, string>): Promise<number | undefined> => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/api/agents/socket`, { headers: headersOf })
    t.after(() => socket.terminate())
    socket.on('error', () => undefined)
    const [, response] = (await once(socket, 'unexpected-response')) as [unknown, { statusCode?: number }]
    return response.statusCode
  }
  assert.equal(await refusal({}), 401)
  const device = new TestDevice('A')
  assert.equal(await refusal((await device.client(url).socket()).headers), 403)
  await device.register(url)
  const { headers: signed, url: address } = await device.client(url).socket()
  const socket = new WebSocket(address, { headers: signed })
  t.after(() => socket.terminate())
  await once(socket, 'open')
  assert.equal(await refusal(signed), 401) // the same request once more
  socket.send(JSON.stringify({ type: 'heartbeat', freeMemoryBytes: 1 }))
  const [answer] = (await once(socket, 'message')) as [Buffer]
  assert.match(answer.toString(), /heartbeat before hello/)
  assert.equal((await device.client(url).call('getDevice', {})).online, false)
})

test('access: certificates of another pool or another device in a hello count for nothing', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const device = new TestDevice('Stranger')
  await device.register(url)
  const forged = issueCertificate(newKeyPair(), { deviceId: device.deviceId, role: 'admin' }, Date.now())
  for (const [index, text] of [pool.admin.certificates.get(pool.poolId) as string, forged, 'AAAA'].entries())
    device.certificates.set(String(index), text)
  await FakeAgent.connect(t, device, url)
  assert.deepEqual(await device.client(url).call('listPools', {}), [])
  assert.deepEqual(
    (await pool.admin.client(url).call('listPeers', { params: { poolId: pool.poolId } })).map(({ name }) => name),
    ['Admin'],
  )
})

test('docs: each route documents the form of its errors', async (t) => {
  const { url } = await startPlane(t)
  const { paths } = (await (await fetch(`${url}/docs/json`)).json()) as {
    paths: Record<string, Record<string, { responses: Record<string, unknown> }>>
  }
  for (const [path, methods] of Object.entries(paths)) {
    for (const { responses } of Object.values(methods))
      for (const status of ['4XX', '5XX'])
        assert.match(JSON.stringify(responses[status]), /"error".*"code".*"hint"/, path)
  }
})

test('docs: OpenAPI lists exactly the routes of the table', async (t) => {
  const { url } = await startPlane(t)
  const { paths } = (await (await fetch(`${url}/docs/json`)).json()) as {
    paths: Record<string, Record<string, unknown>>
  }
  const listed = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  )
  const wanted = (Object.values(routes) as RouteRecord[]).map(
    ({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, '{$1}')}`,
  )
  assert.deepEqual(listed.toSorted(), wanted.toSorted())
  assert.equal((await fetch(`${url}/docs`)).status, 200)
  assert.ok((await (await fetch(`${url}/docs/json`)).text()).includes(headers.signature))
})
