/** A stream of one of our protocols on a connection that is open. */
import type { Connection, Stream } from '@libp2p/interface'
import { MeshError } from '../../shared/errors.ts'
import { shortId } from '../../shared/ids.ts'
import { otherVersion, unknownVersion } from '../../shared/wire/other-version.ts'
import { protocolId, protocolOf } from '../../shared/wire/protocols.ts'
import { deviceIdOfPeer } from './peer-id.ts'

/** How both ends call the other side of a connection. */
export const peerName = ({ remotePeer }: Pick<Connection, 'remotePeer'>): string =>
  `device ${shortId(deviceIdOfPeer(remotePeer) ?? remotePeer.toString())}`

/** What streams and connections are reset with. */
export const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)))

const isUnsupported = (error: unknown): boolean => error instanceof Error && error.name === 'UnsupportedProtocolError'

/** Which of those versions the other side speaks; a newer one knows ours, so only older ones are left. */
const spokenThere = async (
  connection: Connection,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<string | undefined> => {
  if (ids.length === 0) return undefined
  try {
    const stream = await connection.newStream([...ids], { signal, runOnLimitedConnection: true })
    stream.abort(new MeshError('protocolVersion'))
    return stream.protocol
  } catch (error) {
    if (isUnsupported(error)) return undefined
    throw error
  }
}

/**
 * Also over a relay that limits what it carries.
 * @throws MeshError `protocolVersion` when the peer does not speak it, with the version that it speaks where that is
 * known | Error when the connection fails | the reason of the signal
 */
export const openStream = async (connection: Connection, id: string, signal: AbortSignal): Promise<Stream> => {
  try {
    return await connection.newStream(id, { signal, runOnLimitedConnection: true })
  } catch (error) {
    const known = protocolOf(id)
    if (!isUnsupported(error) || known === undefined) throw error
    const { name, protocol } = known
    const older = await spokenThere(
      connection,
      protocol.before.map((version) => protocolId(name, version)),
      signal,
    )
    const there = peerName(connection)
    if (older === undefined) throw unknownVersion(protocol, 'this device', there)
    throw otherVersion(
      protocol,
      { name: 'this device', version: protocol.version },
      { name: there, version: older.split('/').at(-1) ?? '' },
    )
  }
}

/**
 * Opens a stream, works on it and closes it; failing work resets it.
 * @throws MeshError and Error as `openStream` does | what the work throws
 */
export const onStream = async <T>(
  connection: Connection,
  id: string,
  signal: AbortSignal,
  work: (stream: Stream) => Promise<T>,
): Promise<T> => {
  const stream = await openStream(connection, id, signal)
  try {
    const result = await work(stream)
    await stream.close({ signal })
    return result
  } catch (error) {
    stream.abort(asError(error))
    throw error
  }
}
