/** Key files: 64 hex digits and a newline, mode 0600. */
import { chmodSync } from 'node:fs'
import { MeshError } from '../errors.ts'
import { createState, readState, writeState } from '../home.ts'
import { type DeviceId, parseDeviceId } from '../ids.ts'
import { type KeyPair, keyPairFromSeed, newKeyPair, toHex } from './keys.ts'

export const deviceIdOf = (key: KeyPair): DeviceId => parseDeviceId(toHex(key.publicKey))

const textOf = (key: KeyPair): string => `${toHex(key.seed)}\n`

export const saveKey = (file: string, key: KeyPair): void => {
  writeState(file, textOf(key), 0o600)
  chmodSync(file, 0o600)
}

/** The key in a file, or `undefined` when there is none. @throws MeshError `stateUnreadable` for anything but a key */
export const loadKey = (file: string): KeyPair | undefined => {
  const text = readState(file)?.toString('utf8').trim()
  if (text === undefined) return undefined
  if (!/^[0-9a-f]{64}$/.test(text))
    throw new MeshError('stateUnreadable', { file, problem: 'not a key of 64 hex digits' })
  return keyPairFromSeed(new Uint8Array(Buffer.from(text, 'hex')))
}

/**
 * The key in a file, made where there is none: of several processes that make one, all end with the same.
 * @throws MeshError `stateUnreadable` | `stateUnwritable`
 */
export const ownKey = (file: string): KeyPair => {
  const known = loadKey(file)
  if (known) return known
  const key = newKeyPair()
  return createState(file, textOf(key), 0o600) ? key : ownKey(file)
}
