/** What the agent asks of a compute process that holds links to the other ranks (`agent/rank/`), beside commands. */
import type { CollectiveSettings } from '../collective/chooser.ts'
import type { WireType } from '../collective/wire-types.ts'
import type { Seen, StepInput, StepTimes } from '../engine/engine.ts'

/** `forget` and `break` are not answered, and reach a step that runs. */
export const linkRequests = {
  listen: 'listen',
  connect: 'connect',
  probe: 'probe',
  step: 'step',
  leave: 'leave',
  forget: 'forget',
  break: 'break',
} as const
export type LinkRequest = keyof typeof linkRequests

/** A whole step; the embedded rows are in `Buffers.hidden`. */
export interface LinkedStep {
  readonly input: StepInput
  readonly settings: CollectiveSettings
}

/** `Seen` as JSON: f32 in base64. */
interface EncodedSeen {
  readonly layer: number
  readonly wire: WireType
  readonly x: string
  readonly parts: readonly (readonly [rank: number, values: string])[]
}

export interface LinkedStepResult {
  readonly times: StepTimes
  /** By this rank, so far. */
  readonly bytesSent: number
  readonly seen?: EncodedSeen
}

const toText = ({ buffer, byteOffset, byteLength }: Float32Array): string =>
  Buffer.from(buffer, byteOffset, byteLength).toString('base64')
const fromText = (text: string): Float32Array => new Float32Array(new Uint8Array(Buffer.from(text, 'base64')).buffer)

export const encodeSeen = ({ layer, wire, x, parts }: Seen): EncodedSeen => ({
  layer,
  wire,
  x: toText(x),
  parts: [...parts].map(([rank, values]) => [rank, toText(values)]),
})

export const decodeSeen = ({ layer, wire, x, parts }: EncodedSeen): Seen => ({
  layer,
  wire,
  x: fromText(x),
  parts: new Map(parts.map(([rank, values]) => [rank, fromText(values)])),
})
