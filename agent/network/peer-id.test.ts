import assert from 'node:assert/strict'
import { test } from 'node:test'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { deviceIdOf } from '../../shared/identity/device-key.ts'
import { newKeyPair } from '../../shared/identity/keys.ts'
import { deviceIdOfPeer, peerIdOf } from './peer-id.ts'

test('peer id: it wraps the key of a device, and gives it back', () => {
  const deviceId = deviceIdOf(newKeyPair())
  const peer = peerIdOf(deviceId)
  assert.match(peer.toString(), /^12D3KooW/)
  assert.equal(deviceIdOfPeer(peer), deviceId)
})

test('peer id: a peer with a key of another kind is no device', async () => {
  assert.equal(deviceIdOfPeer(peerIdFromPrivateKey(await generateKeyPair('secp256k1'))), undefined)
})
