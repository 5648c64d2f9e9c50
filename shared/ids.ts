/** Identifiers. Branded so that a device id cannot be passed where a pool id is wanted. */
import { randomBytes } from 'node:crypto'
import { MeshError } from './errors.ts'
import { limits } from './limits.ts'

declare const brand: unique symbol
type Branded<Name extends string> = string & { readonly [brand]: Name }

/** Ed25519 public key of a device, 64 lower-case hex digits. */
export type DeviceId = Branded<'DeviceId'>
/** SHA-256 of a domain tag and the pool's root public key, 64 lower-case hex digits. */
export type PoolId = Branded<'PoolId'>
/** SHA-256 of the public key of a control plane (DER SubjectPublicKeyInfo), 64 lower-case hex digits. */
export type ControlPlaneId = Branded<'ControlPlaneId'>
export type RingId = Branded<'RingId'>
export type JobId = Branded<'JobId'>

const hex64 = /^[0-9a-f]{64}$/

const parseHex = <T>(what: string, text: string): T => {
  if (!hex64.test(text))
    throw new MeshError('usage', { problem: `${what} must be 64 hex digits, got "${text.slice(0, 80)}"` })
  return text as T
}

export const parseDeviceId = (text: string): DeviceId => parseHex('a device id', text)
export const parsePoolId = (text: string): PoolId => parseHex('a pool id', text)
export const parseControlPlaneId = (text: string): ControlPlaneId => parseHex('the key of a control plane', text)
export const newRingId = (): RingId => `ring_${randomBytes(8).toString('hex')}` as RingId
export const newJobId = (): JobId => `job_${randomBytes(8).toString('hex')}` as JobId

/**
 * Id of a model: `name`, `owner/name` as hubs have them (a host may stand before), and `:tag` behind. Each part begins
 * with a letter or digit, so that an id below a folder never leads out of it.
 */
export const modelIdPattern =
  /^[A-Za-z0-9][A-Za-z0-9._-]*(?:\/[A-Za-z0-9][A-Za-z0-9._-]*){0,2}(?::[A-Za-z0-9][A-Za-z0-9._-]*)?$/

export const isModelId = (text: string): boolean => text.length <= limits.modelIdLength && modelIdPattern.test(text)

/** The first eight digits: enough for a person to tell devices apart. */
export const shortId = (id: string): string => id.slice(0, 8)

/** The beginning of the hash that a model's revision is, for people. */
export const shortRevision = (revision: string): string => revision.slice(0, 12)

/** Fewest digits by which a person may name a device or a pool: as many as are shown. */
const fewestDigits = 8

/** How an option names one thing by the first digits of its id. */
export interface ByDigits {
  readonly flag: `--${string}`
  /** `device`, `pool` */
  readonly noun: string
  /** The command that shows the ids. */
  readonly list: string
}

/** @returns the digits in lower case; @throws MeshError `usage` for what cannot be the beginning of an id */
export const parseDigits = (text: string, { flag, noun, list }: ByDigits): string => {
  const digits = text.toLowerCase()
  if (!/^[0-9a-f]{8,64}$/.test(digits))
    throw new MeshError('usage', {
      problem:
        `${flag} wants at least ${fewestDigits} hex digits of a ${noun} id (${list} shows it), ` +
        `got "${text.slice(0, 80)}"`,
    })
  return digits
}

/** The one that the digits mean; `undefined`: none. @throws MeshError `usage` (no digits, or several are meant) */
export const selectByDigits = <One>(
  all: readonly One[],
  idOf: (one: One) => string,
  text: string,
  by: ByDigits,
): One | undefined => {
  const digits = parseDigits(text, by)
  const found = all.filter((one) => idOf(one).startsWith(digits))
  if (found.length > 1)
    throw new MeshError('usage', {
      problem: `${by.flag} ${digits} means ${found.length} ${by.noun}s; give more digits`,
    })
  return found[0]
}
