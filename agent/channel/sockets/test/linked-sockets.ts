/** Sockets and channels between ranks of this process, for tests: real TLS on loopback. */
import type { TLSSocket } from 'node:tls'
import { SocketChannel, type SocketChannelOptions } from '../socket-channel.ts'
import { fingerprintOf, LinkListener } from '../tls-sockets.ts'
import { certificateOf } from './certificates.ts'

/** Of each rank, the sockets to the others; the lower rank dialled. */
export const linkSockets = async (worldSize: number): Promise<Map<number, TLSSocket>[]> => {
  const own = await Promise.all(Array.from({ length: worldSize }, (_, rank) => certificateOf(rank)))
  const listeners = await Promise.all(own.map((certificate) => LinkListener.listen(certificate, '127.0.0.1')))
  return Promise.all(
    listeners.map((listener, rank) =>
      listener.connect(
        listeners.flatMap(({ port }, other) =>
          other === rank
            ? []
            : [
                {
                  rank: other,
                  fingerprint: fingerprintOf(own[other]),
                  ...(other > rank ? { dial: { host: '127.0.0.1', port } } : {}),
                },
              ],
        ),
        5000,
      ),
    ),
  )
}

export interface SocketRank {
  readonly channel: SocketChannel
  readonly sockets: ReadonlyMap<number, TLSSocket>
}

export const testEpoch = 3

/** A channel over sockets that are there already. */
export const socketChannelOver = (
  rank: number,
  sockets: ReadonlyMap<number, TLSSocket>,
  options: Partial<SocketChannelOptions> = {},
): SocketChannel =>
  new SocketChannel({
    rank,
    epoch: testEpoch,
    names: Array.from({ length: sockets.size + 1 }, (_, other) => `node ${other}`),
    sockets,
    stepTimeoutMs: 60_000,
    spinMs: 0,
    ...options,
  })

export const createSocketRanks = async (
  worldSize: number,
  options: Partial<SocketChannelOptions> = {},
): Promise<SocketRank[]> =>
  (await linkSockets(worldSize)).map((sockets, rank) => ({
    sockets,
    channel: socketChannelOver(rank, sockets, options),
  }))
