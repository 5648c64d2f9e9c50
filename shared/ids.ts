/** Identifiers. Branded so that a device id cannot be passed where a pool id is wanted. */
import { randomBytes } from 'node:crypto'
import { MeshError } from './errors.ts'
import { limits } from './wire/limits.ts'

declare const brand: unique symbol
type Branded<Name extends string> = string & { readonly [brand]: Name }

/** Ed25519 public key of a device, 64 lower-case hex digits. */
export type DeviceId = Branded<'DeviceId'>
/** SHA-256 of a domain tag and the pool's root public key, 64 lower-case hex digits. */
export type PoolId = Branded<'PoolId'>
export type RingId = Branded<'RingId'>
export type JobId = Branded<'JobId'>

const hex64 = /^[0-9a-f]{64}$/

const parseHex = <T>(what: string, text: string): T => {
  if (!hex64.test(text)) throw new MeshError('usage', { problem: `${what} must be 64 hex digits, got "${text.slice(0, 80)}"` })
  return text as T
}

export const parseDeviceId = (text: string): DeviceId => parseHex('a device id', text)
export const parsePoolId = (text: string): PoolId => parseHex('a pool id', text)
export const newRingId = (): RingId => `ring_${randomBytes(8).toString('hex')}` as RingId
export const newJobId = (): JobId => `job_${randomBytes(8).toString('hex')}` as JobId

/**
 * Id of a model: `name`, `owner/name` as hubs have them (a host may stand before), and `:tag` behind. Each part begins
 * with a letter or digit, so that an id below a folder never leads out of it.
 */
export const modelIdPattern = /^[A-Za-z0-9][A-Za-z0-9._-]*(?:\/[A-Za-z0-9][A-Za-z0-9._-]*){0,2}(?::[A-Za-z0-9][A-Za-z0-9._-]*)?$/

export const isModelId = (text: string): boolean => text.length <= limits.modelIdLength && modelIdPattern.test(text)

/** The first eight digits: enough for a person to tell devices apart. */
export const shortId = (id: string): string => id.slice(0, 8)
