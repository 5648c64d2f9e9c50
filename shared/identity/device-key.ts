/** Key files: 64 hex digits and a newline, mode 0600. */
import { chmodSync } from 'node:fs'
import { MeshError } from '../errors.ts'
import { readState, writeState } from '../home.ts'
import { type DeviceId, parseDeviceId } from '../ids.ts'
import { type KeyPair, keyPairFromSeed, toHex } from './keys.ts'

export const deviceIdOf = (key: KeyPair): DeviceId => parseDeviceId(toHex(key.publicKey))

export const saveKey = (file: string, key: KeyPair): void => {
  writeState(file, `${toHex(key.seed)}\n`, 0o600)
  chmodSync(file, 0o600)
}

/** The key in a file, or `undefined` when there is none. @throws MeshError `stateUnreadable` for anything but a key */
export const loadKey = (file: string): KeyPair | undefined => {
  const text = readState(file)?.toString('utf8').trim()
  if (text === undefined) return undefined
  if (!/^[0-9a-f]{64}$/.test(text)) throw new MeshError('stateUnreadable', { file, problem: 'not a key of 64 hex digits' })
  return keyPairFromSeed(new Uint8Array(Buffer.from(text, 'hex')))
}
