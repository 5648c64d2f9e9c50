/** A stream of one of our protocols on a connection that is open. */
import type { Connection, Stream } from '@libp2p/interface'
import { MeshError } from '../../shared/errors.ts'

/**
 * Also over a relay that limits what it carries.
 * @throws MeshError `protocolVersion` when the peer does not speak it | Error when the connection fails | the reason of the signal
 */
export const openStream = async (connection: Connection, protocol: string, signal: AbortSignal): Promise<Stream> => {
  try {
    return await connection.newStream(protocol, { signal, runOnLimitedConnection: true })
  } catch (error) {
    if (error instanceof Error && error.name === 'UnsupportedProtocolError') throw new MeshError('protocolVersion', { got: 'another version, or is no agent', want: protocol }, error)
    throw error
  }
}
