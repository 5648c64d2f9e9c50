/** The settings file of the relay: what it was started with last holds until a flag or variable says otherwise. */
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { MeshError } from '../shared/errors.ts'
import { readStateJson, writeStateJson } from '../shared/home.ts'

const Settings = Type.Object({
  host: Type.String(),
  port: Type.Integer({ minimum: 0, maximum: 65535 }),
  announce: Type.Array(Type.String()),
  maxReservations: Type.Integer({ minimum: 1 }),
  /** Ids of the pools that it serves; none: everyone. */
  servedPools: Type.Array(Type.String()),
})
export type Settings = Type.Static<typeof Settings>

/** A file written by hand may name some of them only. */
const Known = Type.Partial(Settings)

/**
 * Settings of a file as option text; nothing when there is no file.
 * @throws MeshError `stateUnreadable`
 */
export const readSettings = (file: string): Partial<Record<keyof Settings, string>> => {
  const value = readStateJson(file)
  if (value === undefined) return {}
  if (!Value.Check(Known, value)) {
    const [first] = Value.Errors(Known, value)
    throw new MeshError('stateUnreadable', {
      file,
      problem: `${first?.instancePath || 'it'} ${first?.message ?? 'is malformed'}`,
    })
  }
  const { host, port, announce, maxReservations, servedPools } = value
  return {
    host,
    port: port?.toString(),
    announce: announce?.length ? announce.join(',') : undefined,
    maxReservations: maxReservations?.toString(),
    servedPools: servedPools?.length ? servedPools.join(',') : undefined,
  }
}

/** @param addresses under which the relay is reached now: for people to read */
export const writeSettings = (file: string, settings: Settings, addresses: readonly string[]): void =>
  writeStateJson(file, { ...settings, addresses })
