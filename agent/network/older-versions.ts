/**
 * Answers who speaks a version from before: in the form that it reads, with both versions and who must update. Only the
 * gate answers strangers, as it always does; all else is for members.
 */
import type { Connection, Stream } from '@libp2p/interface'
import { MeshError } from '../../shared/errors.ts'
import { encodeCbor } from '../../shared/wire/envelope.ts'
import { sendMessage } from '../../shared/wire/message-stream.ts'
import { otherVersion } from '../../shared/wire/other-version.ts'
import { peerProtocols, type Protocol, protocolId } from '../../shared/wire/protocols.ts'
import type { MeshNode } from './node.ts'
import { peerName } from './open-stream.ts'

export interface OlderVersionsOptions {
  readonly node: MeshNode
  /** How this device calls itself to others. */
  readonly name: string
  isMember(connection: Connection): boolean
  /** Somebody was told. */
  onMet(connection: Connection, error: MeshError): void
}

/** Milliseconds that the other side may take to read why. */
const closeMs = 1000
/** Streams of a version from before that one connection may have open. */
const streamsAtOnce = 2

const refusalOf = ({ refusal }: Protocol, error: MeshError): object | undefined =>
  ({ verdict: { ok: false, error: error.toReport() }, error: { error: error.toReport() }, none: undefined })[refusal]

/** Serves every version from before, with a refusal. @returns what ends it */
export const refuseOlderVersions = ({ node, name: own, isMember, onMet }: OlderVersionsOptions): (() => void) => {
  const serve =
    (name: string, protocol: Protocol, version: string) =>
    async (stream: Stream, connection: Connection): Promise<void> => {
      if (name !== 'gate' && !isMember(connection)) return stream.abort(new MeshError('protocolVersion'))
      const error = otherVersion(
        protocol,
        { name: own, version: protocol.version },
        { name: peerName(connection), version },
      )
      onMet(connection, error)
      try {
        const refusal = refusalOf(protocol, error)
        if (refusal !== undefined) sendMessage(stream, encodeCbor(refusal))
        await stream.close({ signal: AbortSignal.timeout(closeMs) })
      } catch {
        stream.abort(error)
      }
    }
  // proofs are shown to relays and not to agents
  const spoken = (Object.entries(peerProtocols) as [string, Protocol][]).filter(([name]) => name !== 'relay-proof')
  const older = spoken.flatMap(([name, protocol]) => protocol.before.map((version) => ({ name, protocol, version })))
  for (const { name, protocol, version } of older)
    void node.libp2p.handle(protocolId(name, version), serve(name, protocol, version), {
      runOnLimitedConnection: true,
      maxInboundStreams: streamsAtOnce,
    })
  const ids = older.map(({ name, version }) => protocolId(name, version))
  return () => void Promise.resolve(node.libp2p.unhandle(ids)).catch(() => undefined)
}
