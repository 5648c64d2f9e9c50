import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { relayAt } from './control-plane-url.ts'

describe('relay that a control plane names', () => {
  const everywhere = '/ip4/0.0.0.0/tcp/4001/p2p/12D3KooWRelay'
  for (const [relay, url, wanted] of [
    [everywhere, 'http://192.168.1.20:8080', '/ip4/192.168.1.20/tcp/4001/p2p/12D3KooWRelay'],
    [everywhere, 'http://[fd00::2]:8080', '/ip6/fd00::2/tcp/4001/p2p/12D3KooWRelay'],
    [
      '/ip6/::/tcp/4001/p2p/12D3KooWRelay',
      'https://mesh.example.org',
      '/dns/mesh.example.org/tcp/4001/p2p/12D3KooWRelay',
    ],
    [everywhere, 'http://127.0.0.1:8080', undefined],
    [everywhere, 'http://localhost:8080', undefined],
    [
      '/ip4/203.0.113.7/tcp/4001/p2p/12D3KooWRelay',
      'http://127.0.0.1:8080',
      '/ip4/203.0.113.7/tcp/4001/p2p/12D3KooWRelay',
    ],
    [
      '/dns/relay.example.org/tcp/1/p2p/12D3KooWRelay',
      'http://192.168.1.20:8080',
      '/dns/relay.example.org/tcp/1/p2p/12D3KooWRelay',
    ],
  ] as const) {
    it(`${relay} at ${url} is ${wanted ?? 'of no use'}`, () => assert.equal(relayAt(relay, url), wanted))
  }
})
