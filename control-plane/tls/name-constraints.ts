/**
 * What the self-made authority of a control plane may speak for: whoever trusts its certificate trusts it with these
 * names only (RFC 5280, 4.2.1.10), so that the machine which holds the key cannot pass for other sites.
 */
import { BlockList, isIP } from 'node:net'

/** Networks of homes and of single machines: RFC 1918, 6598, 3927, 4193, 4291. */
const networks: readonly (readonly [address: string, bits: number])[] = [
  ['127.0.0.0', 8],
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['100.64.0.0', 10],
  ['169.254.0.0', 16],
  ['::1', 128],
  ['fc00::', 7],
  ['fe80::', 10],
]
/** Names that nobody owns on the internet: RFC 6761, 6762, 8375, and what routers use. */
const domains: readonly string[] = ['localhost', 'local', 'home.arpa', 'internal', 'lan']

/** True for what every authority of ours may speak for; other names are allowed one by one when it is made. */
export const isPrivateName = (name: string): boolean => {
  if (isIP(name) === 0) return domains.some((domain) => name === domain || name.endsWith(`.${domain}`))
  const family = (address: string): 'ipv4' | 'ipv6' => (address.includes(':') ? 'ipv6' : 'ipv4')
  const list = new BlockList()
  for (const [address, bits] of networks) list.addSubnet(address, bits, family(address))
  return list.check(name, family(name))
}

/** 4 or 16 bytes. */
const bytesOf = (address: string): Buffer => {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number))
  const { hostname } = new URL(`http://[${address}]`) // canonical: no embedded IPv4, at most one ::
  const [head, tail] = hostname
    .slice(1, -1)
    .split('::')
    .map((part) => part.split(':').filter((group) => group !== ''))
  const groups =
    tail === undefined ? head : [...head, ...Array<string>(8 - head.length - tail.length).fill('0'), ...tail]
  return Buffer.from(groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]))
}

const maskOf = (length: number, bits: number): Buffer =>
  Buffer.from(Array.from({ length }, (_, index) => 0xff & ~(0xff >> Math.min(8, Math.max(0, bits - 8 * index)))))

/** Tag, length and content in DER; lengths below 65536. */
const der = (tag: number, ...content: readonly Uint8Array[]): Buffer => {
  const bytes = Buffer.concat(content)
  const length =
    bytes.length < 0x80
      ? [bytes.length]
      : bytes.length < 0x100
        ? [0x81, bytes.length]
        : [0x82, bytes.length >> 8, bytes.length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), bytes])
}

const [sequence, permitted, dnsName, ipAddress] = [0x30, 0xa0, 0x82, 0x87]

const subtree = (name: string, bits?: number): Buffer => {
  if (isIP(name) === 0) return der(sequence, der(dnsName, Buffer.from(name)))
  const address = bytesOf(name)
  return der(sequence, der(ipAddress, address, maskOf(address.length, bits ?? 8 * address.length)))
}

/** The value of the extension in DER. @param others names and addresses besides the private ones */
export const nameConstraints = (others: readonly string[]): Uint8Array =>
  der(
    sequence,
    der(
      permitted,
      ...networks.map(([address, bits]) => subtree(address, bits)),
      ...domains.map((domain) => subtree(domain)),
      ...others.map((name) => subtree(name)),
    ),
  )
