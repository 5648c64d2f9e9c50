/** Addresses of this machine on its networks. */
import { createSocket } from 'node:dgram'
import { BlockList, isIP } from 'node:net'
import { networkInterfaces } from 'node:os'

/** IPv4 addresses that other machines may reach, in the order of the operating system. */
export const lanAddresses = (): string[] =>
  Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? [])
      .filter(({ family, internal, address }) => family === 'IPv4' && !internal && !address.startsWith('169.254.'))
      .map(({ address }) => address),
  )

/** A network that this machine is on. */
export interface LocalNetwork {
  readonly address: string
  /** `192.168.1.5/24`; the operating system may not say. */
  readonly cidr: string | null
}

/** The networks of now; loopback and link-local ones come and go without meaning anything. */
export const localNetworks = (): LocalNetwork[] =>
  Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? [])
      .filter(({ internal, address }) => !internal && !address.startsWith('169.254.') && !address.startsWith('fe80:'))
      .map(({ address, cidr }) => ({ address, cidr })),
  )

/** True when a host lies in one of the networks. */
export const isInside = (host: string, networks: readonly LocalNetwork[]): boolean => {
  const list = new BlockList()
  for (const { address, cidr } of networks) {
    const bits = Number(cidr?.split('/')[1] ?? NaN)
    if (Number.isInteger(bits)) list.addSubnet(address, bits, address.includes(':') ? 'ipv6' : 'ipv4')
  }
  return isIP(host) !== 0 && list.check(host, host.includes(':') ? 'ipv6' : 'ipv4')
}

/** Any public address: nothing is sent to it, the operating system only says which interface would be used. */
const somewhere = '192.0.2.1'

/** The address on the interface of the default route; `undefined` where there is none. */
const defaultAddress = (): Promise<string | undefined> =>
  new Promise((resolve) => {
    const socket = createSocket('udp4')
    const end = (address: string | undefined): void => {
      socket.close()
      resolve(address)
    }
    socket.once('error', () => end(undefined))
    socket.connect(9, somewhere, () => end(socket.address().address))
  })

/** The same addresses, the one of the default route first: bridges of containers come after it. */
export const rankedLanAddresses = async (): Promise<string[]> => {
  const all = lanAddresses()
  const first = await defaultAddress()
  return first !== undefined && all.includes(first) ? [first, ...all.filter((address) => address !== first)] : all
}
