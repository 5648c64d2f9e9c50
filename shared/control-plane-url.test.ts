import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isLoopbackUrl, isTlsUrl, secureUrl } from './control-plane-url.ts'

test('addresses: only what no other machine can have is loopback', () => {
  for (const url of [
    'http://127.0.0.1:8080',
    'http://127.1',
    'http://127.9.8.7',
    'http://localhost:1',
    'http://[::1]:1',
    'http://0x7f000001',
    'http://[::ffff:127.0.0.1]:1',
  ])
    assert.equal(isLoopbackUrl(url), true, url)
  for (const url of [
    'http://127.0.0.1.example.org',
    'http://127.example.org',
    'http://localhost.example.org',
    'http://128.0.0.1',
    'http://0.0.0.0:1',
    'http://[::2]',
    'http://[::ffff:10.0.0.1]',
  ])
    assert.equal(isLoopbackUrl(url), false, url)
})

test('addresses: of other machines are spoken to by TLS, at the same port', () => {
  for (const [given, wanted] of [
    ['http://192.168.1.20:8080', 'https://192.168.1.20:8080'],
    ['http://desk.local', 'https://desk.local:80'],
    ['HTTP://desk.local/a?b', 'https://desk.local:80/a?b'],
    ['http://[fd00::1]:1', 'https://[fd00::1]:1'],
    ['http://127.0.0.1.example.org', 'https://127.0.0.1.example.org:80'],
    ['http://127.0.0.1:8080', 'http://127.0.0.1:8080'],
    ['https://desk.local', 'https://desk.local'],
    ['https://127.0.0.1:1', 'https://127.0.0.1:1'],
    ['ftp://x', 'ftp://x'],
    ['no address', 'no address'],
  ])
    assert.equal(secureUrl(given), wanted)
  assert.deepEqual(['https://x', 'http://x', 'x'].map(isTlsUrl), [true, false, false])
})
