/** Versions that differ: which is older, and what both ends say. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MeshError } from '../errors.ts'
import { isOlder, isOtherVersion, otherVersion, unknownVersion, versionIn } from './other-version.ts'
import { peerProtocols, protocolId, protocolOf, protocols } from './protocols.ts'

test('versions: numbers are compared, not letters', () => {
  for (const [older, newer] of [
    ['1', '2'],
    ['9', '10'],
    ['1.9.0', '1.10.0'],
    ['1.0.0', '2.0.0'],
    ['1', '1.0.1'],
    ['1.2', '1.2.1'],
  ]) {
    assert.ok(isOlder(older, newer), `${older} < ${newer}`)
    assert.ok(!isOlder(newer, older), `${newer} < ${older}`)
  }
  assert.ok(!isOlder('2.0.0', '2.0.0') && !isOlder('2', '2.0.0') && !isOlder('2.0.0', '2'))
})

test('versions: what a stranger calls its version is shown only where it is one', () => {
  for (const text of ['1', '2.0.0', '10.2']) assert.equal(versionIn(text), text)
  for (const text of ['', 'v1', '1.2.3.4', '1'.repeat(6), '1\n2', '\u001b[2J', undefined, 2, ['1', '2']])
    assert.equal(versionIn(text), undefined)
})

test('versions: both ends say the same of a mismatch, and name who must update', () => {
  const [old, recent] = [
    { name: 'device 00000000', version: '1.0.0' },
    { name: 'device 11111111', version: '2.0.0' },
  ]
  const errors = [otherVersion(peerProtocols.gate, old, recent), otherVersion(peerProtocols.gate, recent, old)]
  for (const error of errors) {
    assert.equal(error.message, 'device 00000000 speaks version 1.0.0 of the gate, device 11111111 version 2.0.0')
    assert.match(error.hint, /^update Mesh on device 00000000:/)
    assert.equal(MeshError.fromReport(JSON.parse(JSON.stringify(error.toReport())) as never).message, error.message)
    assert.ok(isOtherVersion(error))
  }
  const unknown = unknownVersion(peerProtocols.gate, 'this device', 'device 22222222')
  assert.match(
    unknown.message + unknown.hint,
    /device 22222222.*none that is known.*update Mesh on the older of the two/,
  )
  assert.ok(!isOtherVersion(unknown))
  // of a program from before these fields
  assert.doesNotMatch(
    MeshError.fromReport({ code: 'protocolVersion', message: '', fields: { got: 'x', want: 'y' } }).message,
    /[{}]/,
  )
})

test('versions: an id leads to its protocol in every version', () => {
  for (const id of Object.values(protocols))
    assert.equal(protocolId(protocolOf(id)?.name ?? '', protocolOf(id)?.protocol.version ?? ''), id)
  assert.equal(protocolOf(protocolId('ring', '9.0.0'))?.protocol, peerProtocols.ring)
  for (const id of ['/ipfs/id/1.0.0', '/meshnet/unheard/1.0.0', '/meshnet/constructor/1.0.0'])
    assert.equal(protocolOf(id), undefined)
  for (const { version, before } of Object.values(peerProtocols))
    for (const older of before) assert.ok(isOlder(older, version))
})
