/** A device id is the raw Ed25519 public key in hex; the libp2p peer id wraps the same key. */
import { publicKeyFromRaw } from '@libp2p/crypto/keys'
import type { PeerId } from '@libp2p/interface'
import { peerIdFromPublicKey } from '@libp2p/peer-id'
import { type DeviceId, parseDeviceId } from '../../shared/ids.ts'
import { toHex } from '../../shared/identity/keys.ts'

export const peerIdOf = (deviceId: DeviceId): PeerId =>
  peerIdFromPublicKey(publicKeyFromRaw(Buffer.from(deviceId, 'hex')))

/** @returns undefined for a peer whose identity is no Ed25519 key */
export const deviceIdOfPeer = (peer: PeerId): DeviceId | undefined =>
  peer.type === 'Ed25519' ? parseDeviceId(toHex(peer.publicKey.raw)) : undefined
