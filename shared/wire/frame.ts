/**
 * The frame on `/meshnet/ring/2.0.0`: a header of 48 bytes, little-endian, then the payload.
 *
 * | offset | type | field |
 * | --- | --- | --- |
 * | 0 | u32 | magic, the bytes `MSHF` |
 * | 4 | u8 | version, 1 |
 * | 5 | u8 | kind (`frameKinds`) |
 * | 6 | u8 | dtype of the payload (`dtypes`) |
 * | 7 | u8 | phase of a collective (`phases`) |
 * | 8 | u32 | payload bytes |
 * | 12 | u32 | ring epoch |
 * | 16 | u32 | job: number that rank 0 gave it inside the epoch |
 * | 20 | u32 | step inside the job |
 * | 24 | u32 | sum inside the step: half layer (2 x layer, + 1 for the MLP) x lanes of the step + lane |
 * | 28 | u32 | chunk inside the phase |
 * | 32 | 16 bytes | zero, reserved |
 *
 * 48 is a multiple of 16, so a payload can be viewed in place when the frame is aligned.
 */
import { MeshError } from '../errors.ts'
import { limits } from '../limits.ts'
import { otherVersion } from './other-version.ts'

export const frameHeaderBytes = 48
const magic = 0x4648534d // 'MSHF' read little-endian
const version = 1
const frames = { what: 'frames', version: String(version), before: [], refusal: 'none' } as const
/** First of the reserved bytes. */
const reservedFrom = 32

export const frameKinds = { control: 1, tensor: 2 } as const
export const dtypes = { bytes: 0, f32: 1, f16: 2, bf16: 3, q8: 4 } as const
export const phases = { none: 0, reduceScatter: 1, allGather: 2, exchange: 3 } as const

type Values<T> = T[keyof T]
export type FrameKind = Values<typeof frameKinds>
export type Dtype = Values<typeof dtypes>
export type Phase = Values<typeof phases>

/** What identifies a tensor frame between two ranks of one epoch. */
export interface FrameTag {
  readonly job: number
  readonly step: number
  readonly operation: number
  readonly phase: Phase
  readonly chunk: number
}

export interface FrameHeader extends FrameTag {
  readonly kind: FrameKind
  readonly dtype: Dtype
  readonly epoch: number
  readonly payloadBytes: number
}

/** A string key for maps of frames that wait or are waited for. */
export const tagKey = (kind: FrameKind, tag: FrameTag): string =>
  `${kind}/${tag.job}/${tag.step}/${tag.operation}/${tag.phase}/${tag.chunk}`

/** @param bytes 48, zeros or not; the caller's memory */
export const writeFrameHeader = (bytes: Uint8Array, header: FrameHeader): void => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, frameHeaderBytes)
  view.setUint32(0, magic, true)
  bytes[4] = version
  bytes[5] = header.kind
  bytes[6] = header.dtype
  bytes[7] = header.phase
  view.setUint32(8, header.payloadBytes, true)
  view.setUint32(12, header.epoch, true)
  view.setUint32(16, header.job, true)
  view.setUint32(20, header.step, true)
  view.setUint32(24, header.operation, true)
  view.setUint32(28, header.chunk, true)
  bytes.fill(0, reservedFrom, frameHeaderBytes)
}

export const encodeFrameHeader = (header: FrameHeader): Uint8Array => {
  const bytes = new Uint8Array(frameHeaderBytes)
  writeFrameHeader(bytes, header)
  return bytes
}

const kindValues = Object.values(frameKinds)
const dtypeValues = Object.values(dtypes)
const phaseValues = Object.values(phases)

const oneOf = <T extends number>(what: string, values: readonly T[], value: number): T => {
  if (!values.includes(value as T)) throw new MeshError('frameInvalid', { problem: `${what} is ${value}` })
  return value as T
}

/**
 * Reads a header; nothing is allocated before the announced size is known to be allowed.
 * @param bytes exactly 48
 * @throws MeshError `frameInvalid` | `frameTooLarge` | `protocolVersion`
 */
export const decodeFrameHeader = (bytes: Uint8Array): FrameHeader => {
  if (bytes.length !== frameHeaderBytes)
    throw new MeshError('frameInvalid', { problem: `header of ${bytes.length} bytes, want ${frameHeaderBytes}` })
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (view.getUint32(0, true) !== magic) throw new MeshError('frameInvalid', { problem: 'wrong magic number' })
  if (bytes[4] !== version)
    throw otherVersion(
      frames,
      { name: 'this device', version: frames.version },
      { name: 'the other rank', version: String(bytes[4]) },
    )
  for (let at = reservedFrom; at < frameHeaderBytes; at++)
    if (bytes[at] !== 0) throw new MeshError('frameInvalid', { problem: 'reserved bytes are not zero' })
  const kind = oneOf('kind', kindValues, bytes[5])
  const payloadBytes = view.getUint32(8, true)
  const limit = kind === frameKinds.control ? limits.controlBytes : limits.framePayloadBytes
  if (payloadBytes > limit) throw new MeshError('frameTooLarge', { gotBytes: payloadBytes, limitBytes: limit })
  return {
    kind,
    dtype: oneOf('dtype', dtypeValues, bytes[6]),
    phase: oneOf('phase', phaseValues, bytes[7]),
    payloadBytes,
    epoch: view.getUint32(12, true),
    job: view.getUint32(16, true),
    step: view.getUint32(20, true),
    operation: view.getUint32(24, true),
    chunk: view.getUint32(28, true),
  }
}
