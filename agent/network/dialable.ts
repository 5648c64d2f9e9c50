/** Which of the addresses that a peer tells are worth dialling from here. */
import { isLoopback } from '../../shared/loopback.ts'

/** `192.168.1.5` of `/ip4/192.168.1.5/tcp/4001`; empty when it names no IP address. */
export const hostOf = (address: string): string => /^\/ip[46]\/([^/]+)/.exec(address)?.[1] ?? ''

/** It leads over a relay. @param address of libp2p, as text or not: `connection.remoteAddr` */
export const isRelayed = (address: { toString(): string }): boolean => /\/p2p-circuit(?:\/|$)/.test(address.toString())

/** The address without a trailing peer id. */
export const withoutPeerId = (address: string): string => address.replace(/\/p2p\/[^/]+$/, '')

/**
 * Direct addresses, without the peer id. Loopback ones lead to the peer only when it runs on this machine.
 * @param own addresses of this node
 */
export const dialableAddresses = (addresses: readonly string[], own: readonly string[]): string[] => {
  const direct = addresses.filter((address) => !isRelayed(address)).map(withoutPeerId)
  const hosts = direct.map(hostOf).filter((host) => !isLoopback(host))
  const isHere = hosts.length === 0 || own.some((address) => hosts.includes(hostOf(address)))
  return direct.filter((address) => isHere || !isLoopback(hostOf(address)))
}

/** The address among those on which the peer listens that has the host it dialled us from. */
export const listenedOn = (dialledFrom: string, listening: readonly string[]): string | undefined => {
  const host = hostOf(dialledFrom)
  return host === ''
    ? undefined
    : listening
        .filter((address) => !isRelayed(address))
        .map(withoutPeerId)
        .find((address) => hostOf(address) === host)
}
