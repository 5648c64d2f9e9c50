import assert from 'node:assert/strict'
import { test } from 'node:test'
import { householdOf } from './household.ts'

test('household: addresses of one count together', () => {
  for (const [address, household] of [
    ['192.168.1.20', '192.168.1.20'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['::1', '0:0:0:0'],
    ['2001:db8:1:2:aaaa:bbbb:cccc:dddd', '2001:db8:1:2'],
    ['2001:db8:1:2::1', '2001:db8:1:2'],
    ['2001:0DB8:1:2::', '2001:db8:1:2'],
    ['2001:db8::2', '2001:db8:0:0'],
    ['2001:db8::1:2:3:4:5', '2001:db8:0:1'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
  ])
    assert.equal(householdOf(address), household, address)
})
