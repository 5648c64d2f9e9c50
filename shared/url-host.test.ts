import assert from 'node:assert/strict'
import { test } from 'node:test'
import { asUrlHost, hostIn } from './url-host.ts'

test('hosts of URLs: there and back, with brackets around IPv6 alone', () => {
  for (const host of ['127.0.0.1', '::1', '2001:db8::5', 'plane.local'])
    assert.equal(hostIn(`https://${asUrlHost(host)}:8080/a?b=[c]`), host)
  assert.deepEqual(['::1', '10.0.0.1', 'a'].map(asUrlHost), ['[::1]', '10.0.0.1', 'a'])
})
