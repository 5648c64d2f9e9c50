/**
 * Finds the devices of one pool on the local network by multicast DNS, without a server.
 *
 * The service name is a hash of the pool id, so that listeners on the network learn no pool id. Whoever answers shows
 * with its instance name that it knows the pool id too: others are ignored before anything is sent to them.
 */
import { createHash } from 'node:crypto'
import type { Libp2p, PeerId, PeerInfo } from '@libp2p/interface'
import { mdns, type MulticastDNSComponents } from '@libp2p/mdns'
import { problemOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'

const digest = (text: string, digits: number): string =>
  createHash('sha256').update(text).digest('hex').slice(0, digits)

/** The name under which devices of a pool ask for each other. */
export const serviceTagOf = (poolId: string): string => `_mesh-${digest(`meshnet-mdns-v1\0${poolId}`, 32)}._udp.local`

/** The instance name of a device: only who knows the pool id can tell it. One DNS label. */
export const instanceNameOf = (poolId: string, peerId: string): string =>
  digest(`meshnet-mdns-peer-v1\0${poolId}\0${peerId}`, 60)

export interface MdnsDiscoveryOptions {
  readonly libp2p: Libp2p
  readonly poolId: string
  readonly logger: Logger
  /** A device of the pool said where it is; told again every few seconds. @param addresses without the peer id */
  onFound(peer: PeerId, addresses: readonly string[]): void
}

/** What libp2p offers beyond its public type: parts for a service that starts while the node runs. */
interface Components {
  readonly components: MulticastDNSComponents
}

interface DnsRecord {
  readonly type: string
  readonly name: string
  readonly data?: unknown
}

/** The part of the library's service that is used besides its events. */
interface Service {
  readonly mdns?: {
    prependListener(event: 'response', listener: (packet: { readonly answers?: readonly DnsRecord[] }) => void): void
  }
  start(): Promise<void>
  stop(): Promise<void>
  addEventListener(type: 'peer', listener: (event: { readonly detail: PeerInfo }) => void): void
}

export class MdnsDiscovery {
  readonly #options: MdnsDiscoveryOptions
  readonly #tag: string
  #service: Service | undefined
  /** Instance name of the answer that is being read. */
  #instance = ''

  constructor(options: MdnsDiscoveryOptions) {
    this.#options = options
    this.#tag = serviceTagOf(options.poolId)
  }

  /** Starts asking and answering. A machine without multicast finds nobody; that is no failure. */
  async start(): Promise<void> {
    const { libp2p, poolId, logger } = this.#options
    const service = mdns({ serviceTag: this.#tag, peerName: instanceNameOf(poolId, libp2p.peerId.toString()) })(
      (libp2p as unknown as Components).components,
    ) as unknown as Service
    service.addEventListener('peer', ({ detail }) => this.#found(detail))
    this.#service = service
    try {
      await service.start()
      service.mdns?.prependListener('response', ({ answers }) => {
        this.#instance =
          answers
            ?.filter(({ type, name }) => type === 'PTR' && name === this.#tag)
            .map(({ data }) => String(data).split('.')[0])
            .at(-1) ?? ''
      })
    } catch (error) {
      logger.warn(
        { problem: problemOf(error) },
        'no multicast DNS here: devices of the pool are not found on the local network',
      )
    }
  }

  async stop(): Promise<void> {
    const service = this.#service
    this.#service = undefined
    await service?.stop()
  }

  /** Asks at once, on the networks of now. */
  async restart(): Promise<void> {
    await this.stop()
    await this.start()
  }

  #found({ id, multiaddrs }: PeerInfo): void {
    const { libp2p, poolId, onFound } = this.#options
    if (id.equals(libp2p.peerId) || this.#instance !== instanceNameOf(poolId, id.toString())) return
    onFound(id, multiaddrs.map(String))
  }
}
