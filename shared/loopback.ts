/** Addresses that no other machine can have or send from: 127.0.0.0/8 and ::1 (RFC 6890). */
import { BlockList, isIP } from 'node:net'

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

/**
 * Whether an address is one of this machine where nobody else can listen; an IPv4 address in IPv6 clothes
 * (`::ffff:127.0.0.1`, as sockets of both families tell it) counts as what it is.
 * @param address as hosts are written (no brackets) or as sockets tell it (a zone may stand behind); a name is none
 */
export const isLoopback = (address: string): boolean => {
  const bare = address.split('%')[0]
  const family = isIP(bare)
  return family !== 0 && loopback.check(bare, family === 6 ? 'ipv6' : 'ipv4')
}
