/** Two programs that do not speak the same version: said in the same words at both ends, with who must update. */
import { MeshError } from '../errors.ts'
import type { Protocol } from './protocols.ts'

/** A program as both ends may call it, for example `device 0a1b2c3d`, and what it speaks. */
export interface Speaker {
  readonly name: string
  readonly version: string
}

const partsOf = (version: string): number[] => version.split('.').map(Number)

/** True for a version that came before the other: `1.9.0` before `1.10.0`. */
export const isOlder = (version: string, other: string): boolean => {
  const [own, others] = [partsOf(version), partsOf(other)]
  const differences = [0, 1, 2].map((at) => (own[at] ?? 0) - (others[at] ?? 0))
  return (differences.find((difference) => difference !== 0) ?? 0) < 0
}

/** What a stranger calls its version, if it is one: it is shown to people. */
export const versionIn = (text: unknown): string | undefined =>
  typeof text === 'string' && /^\d{1,5}(?:\.\d{1,5}){0,2}$/.test(text) ? text : undefined

/** @param here this program, @param there the other one */
export const otherVersion = ({ what }: Protocol, here: Speaker, there: Speaker): MeshError => {
  const [older, newer] = isOlder(there.version, here.version) ? [there, here] : [here, there]
  return new MeshError('protocolVersion', {
    update: older.name,
    what,
    older: older.name,
    olderVersion: older.version,
    newer: newer.name,
    newerVersion: newer.version,
    // programs from before this text: as they say it, "peer speaks {got}, this agent {want}"
    got: `version ${here.version} of ${what}`,
    want: `version ${there.version}`,
  })
}

/** The other side speaks no version that is known here: it is another program, or much newer. */
export const unknownVersion = ({ what, version }: Protocol, here: string, there: string): MeshError =>
  new MeshError('protocolVersion', {
    what,
    older: there,
    olderVersion: '(none that is known here)',
    newer: here,
    newerVersion: version,
    update: 'the older of the two, if both are programs of Mesh',
  })

/** True when the other side is known to speak another version, and not just none. */
export const isOtherVersion = (error: unknown): error is MeshError =>
  error instanceof MeshError && error.code === 'protocolVersion' && versionIn(error.fields.olderVersion) !== undefined
