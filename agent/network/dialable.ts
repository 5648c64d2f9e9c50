/** Which of the addresses that a peer tells are worth dialling from here. */
import { isLoopback } from '../../shared/loopback.ts'
import { ipOf, isRelayed, withoutPeerId } from '../../shared/peer-address.ts'

/**
 * Direct addresses, without the peer id. Loopback ones lead to the peer only when it runs on this machine.
 * @param own addresses of this node
 */
export const dialableAddresses = (addresses: readonly string[], own: readonly string[]): string[] => {
  const direct = addresses.filter((address) => !isRelayed(address)).map(withoutPeerId)
  const ips = direct.map(ipOf).filter((ip) => !isLoopback(ip))
  const isHere = ips.length === 0 || own.some((address) => ips.includes(ipOf(address)))
  return direct.filter((address) => isHere || !isLoopback(ipOf(address)))
}

/** The address among those on which the peer listens that has the IP address that it dialled us from. */
export const listenedOn = (dialledFrom: string, listening: readonly string[]): string | undefined => {
  const ip = ipOf(dialledFrom)
  return ip === ''
    ? undefined
    : listening
        .filter((address) => !isRelayed(address))
        .map(withoutPeerId)
        .find((address) => ipOf(address) === ip)
}
