/**
 * The protocols that libp2p serves by itself (identify, hole punching, relayed connections), made to wait for the gate.
 *
 * Not by `libp2p.use`: libp2p 3.3 adds the handler of each stream to the list of middleware that it keeps, so the
 * second stream runs the handler twice, the third three times.
 */
import type { Connection, Stream } from '@libp2p/interface'

type Handler = (stream: Stream, connection: Connection) => void | Promise<void>

/** The part of libp2p's registrar that we need. */
interface Registrar {
  getProtocols(): string[]
  getHandler(protocol: string): { readonly handler: Handler; readonly options: object }
  handle(protocol: string, handler: Handler, options: object & { readonly force: true }): Promise<void>
}

export interface OwnProtocols {
  /**
   * From now on a stream is served when `admitted` settles, and reset when it rejects. Call it once, before protocols
   * of ours are added.
   */
  guard(admitted: (connection: Connection) => Promise<void>): void
}

/** A service for `createLibp2p`: services are given what libp2p is made of. */
export const ownProtocols =
  () =>
  ({ registrar }: { readonly registrar: Registrar }): OwnProtocols => ({
    guard: (admitted) => {
      for (const protocol of registrar.getProtocols()) {
        const { handler, options } = registrar.getHandler(protocol)
        const guarded: Handler = async (stream, connection) => {
          await admitted(connection)
          await handler(stream, connection)
        }
        void registrar.handle(protocol, guarded, { ...options, force: true })
      }
    },
  })
