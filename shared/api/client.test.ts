import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { newApiKey } from '../identity/api-key.ts'
import { newControlPlaneKey } from '../identity/control-plane-key.ts'
import { newKeyPair } from '../identity/keys.ts'
import { createClient } from './client.ts'
import { controlPlaneAt } from './contact.ts'
import { isLoopbackUrl } from '../control-plane-url.ts'
import { unreachable } from './failures.ts'

test('client: a control plane that does not answer is told with where to look: here, or on the machine that hosts it', async () => {
  const refuse: typeof fetch = () => Promise.reject(new Error('connect ECONNREFUSED'))
  const hintFor = async (url: string): Promise<string> => {
    if (!isLoopbackUrl(url)) return unreachable(url, 'connect ECONNREFUSED').hint
    const client = createClient({ url, key: newKeyPair(), certificateOf: () => undefined, fetch: refuse })
    try {
      await client.call('getDevice', {})
    } catch (error) {
      assert.ok(
        error instanceof Error && 'code' in error && error.code === 'controlPlaneUnreachable' && 'hint' in error,
      )
      return String(error.hint)
    }
    return assert.fail('it answered')
  }
  for (const here of ['http://127.0.0.1:8080', 'http://localhost:8080/', 'http://[::1]:1', 'http://127.9.9.9'])
    assert.match(await hintFor(here), /^start it with mesh up/)
  for (const [url, host] of [
    ['http://192.168.1.20:8080', '192.168.1.20'],
    ['https://desk.local', 'desk.local'],
    ['http://[fd00::1]:1', '[fd00::1]'],
  ]) {
    assert.ok((await hintFor(url)).startsWith(`mesh up must run on the machine at ${host}, `))
  }
})

const serve = async (t: TestContext, answer: RequestListener): Promise<string> => {
  const server = createServer(answer).listen(0, '127.0.0.1')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('client: nobody is followed who says that the control plane is elsewhere', async (t) => {
  const heard: string[] = []
  const elsewhere = await serve(t, (request, response) => {
    heard.push(`${request.method} ${request.url}`)
    response.end('{}')
  })
  for (const status of [301, 302, 303, 307, 308]) {
    const url = await serve(
      t,
      (request, response) => void response.writeHead(status, { location: `${elsewhere}${request.url}` }).end(),
    )
    const device = createClient({
      url,
      controlPlaneKey: newControlPlaneKey().id,
      key: newKeyPair(),
      certificateOf: () => undefined,
    })
    const app = createClient({ url, apiKey: newApiKey().text })
    const body = {
      networkId: 'home',
      name: 'a',
      capabilities: { cpuCores: 1, memoryBytes: 1, platform: 'linux', arch: 'x64', backends: [] },
    }
    for (const call of [
      () => device.call('getDevice', {}),
      () => device.call('registerDevice', { body }),
      () => app.call('getKey', {}),
      () => controlPlaneAt(url),
    ]) {
      await assert.rejects(call, { code: 'controlPlaneUnreachable' }, String(status))
    }
  }
  assert.deepEqual(heard, [])
})
