/** Addresses of this machine on its networks. */
import { createSocket } from 'node:dgram'
import { networkInterfaces } from 'node:os'

/** IPv4 addresses that other machines may reach, in the order of the operating system. */
export const lanAddresses = (): string[] =>
  Object.values(networkInterfaces()).flatMap((list) => (list ?? []).filter(({ family, internal, address }) => family === 'IPv4' && !internal && !address.startsWith('169.254.')).map(({ address }) => address))

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
