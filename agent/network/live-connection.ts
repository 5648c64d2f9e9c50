/** Whether a connection that looks open still leads to its peer. */
import type { Connection } from '@libp2p/interface'

/** Every libp2p peer answers the question for it, also one that does not speak it. */
const pingProtocol = '/ipfs/ping/1.0.0'

/**
 * Asks for a protocol and waits for any answer: two round trips.
 * @returns milliseconds of one round trip, or `undefined` when no answer came in time
 */
export const probeConnection = async (connection: Connection, timeoutMs: number): Promise<number | undefined> => {
  const startedAt = performance.now()
  try {
    const stream = await connection.newStream(pingProtocol, {
      signal: AbortSignal.timeout(timeoutMs),
      runOnLimitedConnection: true,
    })
    stream.abort(new Error('only asked'))
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'UnsupportedProtocolError') return undefined
  }
  return (performance.now() - startedAt) / 2
}
