/** What SECURITY.md says in numbers of its own is what the code has; its tables are generated. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { limits } from '../shared/limits.ts'
import { certificateLifetimeMs } from '../shared/identity/pool-certificate.ts'
import { budgetTable, limitTable, routeTable } from './support/bounds.ts'
import { routes } from '../shared/api/routes.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const page = readFileSync(join(root, 'SECURITY.md'), 'utf8')

test('security page: every limit and file that it names is there', () => {
  const named = [
    ...page.replaceAll(/<!-- generated:(\w+) -->[\s\S]*?<!-- \/generated:\1 -->/g, '').matchAll(/`([^`]+)`/g),
  ].map(([, text]) => text)
  for (const text of named.filter((one) => /^[\w-]+(?:\/[\w.-]+)+$/.test(one)))
    assert.ok(existsSync(join(root, text)), text)
  for (const text of named.filter((one) => /^(?:queued|gate|handshake|hello|frame|control|early)[A-Z]\w+$/.test(one)))
    assert.ok(text in limits || text === 'controlPlaneChanged', text)
})

test('security page: numbers in its text are those of the code', () => {
  assert.equal(certificateLifetimeMs, 7 * 86400e3)
  assert.equal(limits.waitingConnectionsOfAddress, 64)
  assert.equal(limits.controlPlaneTlsMs, 5000)
  const constant = (file: string, name: string): number =>
    Number(new RegExp(`const ${name} = (\\d+)`).exec(readFileSync(join(root, file), 'utf8'))?.[1])
  assert.equal(constant('control-plane/service/agent-greetings.ts', 'tolerated'), 3)
  assert.equal(constant('agent/channel/sockets/tls-sockets.ts', 'heldGuests'), 64)
  assert.equal(constant('relay-server/relay-gate.ts', 'failuresAllowed'), 16)
})

test('security page: tables have a row for each limit, each kind of sender and each route', () => {
  assert.equal(limitTable().split('\n').length - 2, Object.keys(limits).length)
  assert.doesNotMatch(limitTable(), /\| *\|\n|undefined|NaN/)
  assert.equal(budgetTable().split('\n').length - 2, 3)
  assert.equal(routeTable().split('\n').length - 2, Object.keys(routes).length)
})
