import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newKeyPair } from '../identity/keys.ts'
import { createClient } from './client.ts'
import { isLoopbackUrl } from './control-plane-url.ts'
import { unreachable } from './failures.ts'

test('client: a control plane that does not answer is told with where to look: here, or on the machine that hosts it', async () => {
  const refuse: typeof fetch = () => Promise.reject(new Error('connect ECONNREFUSED'))
  const hintFor = async (url: string): Promise<string> => {
    if (!isLoopbackUrl(url)) return unreachable(url, 'connect ECONNREFUSED').hint
    const client = createClient({ url, key: newKeyPair(), certificateOf: () => undefined, fetch: refuse })
    try {
      await client.call('getDevice', {})
    } catch (error) {
      assert.ok(error instanceof Error && 'code' in error && error.code === 'controlPlaneUnreachable' && 'hint' in error)
      return String(error.hint)
    }
    return assert.fail('it answered')
  }
  for (const here of ['http://127.0.0.1:8080', 'http://localhost:8080/', 'http://[::1]:1', 'http://127.9.9.9']) assert.match(await hintFor(here), /^start it with mesh up/)
  for (const [url, host] of [['http://192.168.1.20:8080', '192.168.1.20'], ['https://desk.local', 'desk.local'], ['http://[fd00::1]:1', '[fd00::1]']]) {
    assert.ok((await hintFor(url)).startsWith(`mesh up must run on the machine at ${host}, `))
  }
})
